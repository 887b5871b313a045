"""The names of Punchstream's settings, as an environment has them."""

from typing import Final

from punchstream.commands.settings import every_group

SETTINGS: Final = {
    f"{group.model_config.get('env_prefix', '')}{name}".upper()
    for group in every_group()
    for name in group.model_fields
}
