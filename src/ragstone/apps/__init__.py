"""Frozen specifications of the applications that this server offers."""

from ragstone.apps.assistant import ASSISTANT
from ragstone.domain.application import Application

__all__ = ["APPLICATIONS", "ASSISTANT"]

APPLICATIONS: dict[str, Application] = {ASSISTANT.name: ASSISTANT}
