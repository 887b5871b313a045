"""The cells in which somebody changes a topic under load, beside the matrix: stages stand still until it is mended."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from attendance.kafka.clients import create_admin
from attendance.kafka.topic_repair import repair_topics
from attendance.times import now
from attendance.topics import DAY_MS
from harness.cells import LEAST_LOAD, SETTLE_SECONDS, SHAPE, WITHHELD, Cell, Result, await_outcomes
from harness.cluster import Cluster
from harness.faults import Fault
from harness.load import Load
from harness.network import Network
from harness.pipeline import Pipeline
from sandbox.fleet.plan import plan as make_plan

COMPACTED: Fault = "topic compacted"
SHORTENED: Fault = "retention shortened"
CELLS = (Cell("push", COMPACTED), Cell("stream", SHORTENED))
STANDS, GOES_ON = "This stage stands still.", "This stage goes on."


def run(cell: Cell, seed: int, cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell; as `harness.cells.run`."""
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    plan = make_plan(random_.getrandbits(32), now(), SHAPE)
    prefix, victim = f"cell-{random_.getrandbits(32):08x}", f"{cell.target}-{random_.choice('12')}"
    result = Result(cell, victim)
    try:
        with Pipeline(directory, cluster, network, plan, prefix, WITHHELD) as pipeline:
            pipeline.start({})
            load = Load(plan, pipeline.doors, LEAST_LOAD)
            load.start()
            asyncio.run(_change(cell, pipeline))
            pipeline.until(lambda: pipeline.members[victim].said(STANDS), SETTLE_SECONDS)
            asyncio.run(repair_topics(pipeline.kafka))
            pipeline.until(lambda: pipeline.members[victim].said(GOES_ON), SETTLE_SECONDS)
            pipeline.map_withheld()
            pipeline.until(lambda: not load.running, SETTLE_SECONDS)
            report, _, found = await_outcomes(pipeline, plan, load.tally)
            resent = report.raw - plan.expectation.totals().raw
            result = replace(result, raw=report.raw, resent=resent, problems=tuple(found))
        if not result.problems:
            cluster.delete_topics(prefix)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


async def _change(cell: Cell, pipeline: Pipeline) -> None:
    """What an operator's tool does in one click."""
    topics = pipeline.kafka.topics
    topic, configs = topics["raw"], {"cleanup.policy": "compact"}
    if cell.fault == SHORTENED:
        topic, configs = topics["checkins"], {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)}
    admin = create_admin(pipeline.kafka, "an-operator")
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
    finally:
        await admin.close()
