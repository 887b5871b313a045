"""The topics that others may read, as an AsyncAPI document."""

from typing import Any, Final

from attendance.contract.products import PRODUCTS, Product
from attendance.contract.schemas import DIALECT, headers_schema
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.topics import TABLE, Name, Topic, topic_configs

KAFKA_BINDINGS: Final = "0.5.0"


def document(version: str, retention_days: int, partitions: int) -> dict[str, Any]:
    """The document, from the view of Punchstream, which sends.

    Payloads are references to the files of `docs/schemas/`, relative to the folder of the document.

    Args:
        version: That of Punchstream.
        retention_days: The default of `KAFKA_RETENTION_DAYS`.
        partitions: The default of `KAFKA_PARTITIONS`.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Punchstream",
            "version": version,
            "description": "The topics that others may read. Names, partitions and retention are those of an"
            " installation that sets nothing else: KAFKA_TOPIC_PREFIX, KAFKA_PARTITIONS, KAFKA_RETENTION_DAYS and"
            " DEAD_LETTER_DAYS change them. Which topic is for what: docs/reading-the-raw-topic.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            name: _channel(name, product, TABLE[name], retention_days, partitions) for name, product in PRODUCTS.items()
        },
        "operations": {
            f"send_{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"Each record is one {product.title}.",
            }
            for name, product in PRODUCTS.items()
        },
        "components": {"messages": {name: _message(name, product) for name, product in PRODUCTS.items()}},
    }


def _channel(name: Name, product: Product, topic: Topic, retention_days: int, partitions: int) -> dict[str, Any]:
    configs = topic_configs(topic, retention_days)
    return {
        "address": f"attendance.{topic.suffix}",
        "title": product.title,
        "description": f"{topic.holds[0].upper()}{topic.holds[1:]}. Records of one key stand in one partition,"
        f" {product.order}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions or partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup],
                    "retention.ms": int(configs["retention.ms"]),
                    "max.message.bytes": MAX_RECORD_BYTES,
                },
                "bindingVersion": KAFKA_BINDINGS,
            }
        },
    }


def _message(name: Name, product: Product) -> dict[str, Any]:
    topic = TABLE[name]
    notes = [
        "The value has the bytes of the original, whatever they are." if product.in_headers else "",
        "A value may be empty, which is a tombstone." if product.tombstones else "",
        "Records of earlier releases lack CloudEvents headers."
        if product.event and not product.always_cloudevents
        else "",
    ]
    message: dict[str, Any] = {
        "title": product.title,
        "description": " ".join(each for each in notes if each) or f"One {product.title}.",
        "headers": headers_schema(name),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"UTF-8: {topic.key}."},
                "bindingVersion": KAFKA_BINDINGS,
            }
        },
    }
    if product.in_headers:
        return message | {"contentType": "application/octet-stream"}
    payload = {
        "schemaFormat": f"application/schema+json;version={DIALECT.split('/')[-2]}",
        "schema": {"$ref": f"schemas/{topic.suffix}.json"},
    }
    return message | {"contentType": "application/json", "payload": payload}
