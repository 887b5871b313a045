"""The one import-time singleton, for `faust -A streams.worker worker --without-web` and Faust's other commands.

Without that option Faust's worker command serves its own web pages on every address, whatever the settings say.
"""

from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.settings import CommonSettings, KafkaSettings, StreamSettings
from streams.app import create_app

app = create_app(
    KafkaSettings.load(),
    StreamSettings.load(),
    Registry.load(CommonSettings.load()),
    Metrics("stream"),
)
