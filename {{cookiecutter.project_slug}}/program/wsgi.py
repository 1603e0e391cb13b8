"""The callable that gunicorn loads, once, before it forks its workers."""

from __future__ import annotations

from runtime import acceleration

acceleration.single_thread()  # before anything imports xgboost: several threads hang after a fork

from predictor import create_app  # noqa: E402
from runtime.inference.errors import StartError  # noqa: E402
from runtime.job import logs  # noqa: E402
from runtime.job.failures import UserError  # noqa: E402
from settings import SettingError, load  # noqa: E402

try:
    settings = load()
    logs.configure(settings.log_level)
    application = create_app(settings)
except (SettingError, StartError, UserError) as error:
    raise SystemExit(f"error: {error}") from None
