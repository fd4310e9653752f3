"""What can be configured, and where it comes from: arguments, then environment, then `config.toml`.

Every setting is `LORA_MANAGER_` + its name in capitals in the environment, and its name in lower
case in `config.toml` of the data folder. Nothing is read at import; `Settings(...)` reads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_PREFIX = "LORA_MANAGER_"
_SECRETS = ("api_key", "civitai_key", "database_url", "redis_url", "sdnext_password", "sdnext_user")


class Settings(BaseSettings):
    """The settings of one process. Unset paths are derived from `data_dir`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("lora-manager", appauthor=False)),
        description="Folder for the database, pictures, thumbnails and backups.",
    )
    library_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders that hold LoRA files, separated as in PATH."
    )
    watch: bool = Field(
        default=True,
        description="Notice changes of the library folders while the server runs; off: only scans "
        "find them.",
    )
    import_path: Path = Field(
        default=Path("./loras"),
        description="Folder that imported model files go to; a library folder once it exists.",
    )
    output_dir: Path | None = Field(
        default=None,
        description="Folder for generated pictures (default: `outputs` in the data folder).",
    )
    outbox_dir: Path | None = Field(
        default=None,
        description="Folder for prompts delivered as files (default: `outbox` in the data folder).",
    )
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; default: SQLite in the data folder."
    )
    redis_url: str | None = Field(
        default=None,
        description="Redis that server and workers share, such as redis://127.0.0.1:6379/0, see "
        "docs/workers.md; unset: queue and feed stay in the process.",
    )
    sdnext_url: str | None = Field(
        default=None, description="Address of an SD.Next server, such as http://127.0.0.1:7860."
    )
    sdnext_user: str | None = Field(default=None, description="User of SD.Next's --auth.")
    sdnext_password: str | None = Field(default=None, description="Password of SD.Next's --auth.")
    diffusers_model: Path | None = Field(
        default=None, description="Local diffusers pipeline folder for the embedded backend."
    )
    api_key: str | None = Field(
        default=None, description="A key every caller must send as X-API-Key.", min_length=8
    )
    http_targets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Where `http` deliveries may go, by comma: host, host:port, *.domain, "
        "[IPv6]:port. Empty: nowhere.",
    )
    embedding_model: str | None = Field(
        default=None,
        description="Folder or hub name of a sentence-transformers model that recommendations "
        "compare texts with; unset: the one of the `semantic` extra. A hub name that is not on "
        "this machine is downloaded; nothing else ever is.",
    )
    auto_embed: bool = Field(
        default=True,
        description="Compute what recommendations need after scans and changes, while no picture "
        "is being made: sketches of weights and, with the `semantic` extra, vectors of texts.",
    )
    auto_hash: bool = Field(
        default=True,
        description="Compute the hashes of new and changed files after scans, while no picture is "
        "being made: duplicates and moved files are known by them.",
    )
    exact_strengths: bool = Field(
        default=True,
        description="In SD.Next: switch off the fused LoRA mode, which renders wrong strengths.",
    )
    look_up: bool = Field(
        default=False,
        description="Let look-ups ask Civitai for files by their hash when somebody starts one; "
        "while this is off nothing is ever asked.",
    )
    civitai_key: str | None = Field(
        default=None, description="API key of Civitai, which tells more to those who have one."
    )
    civitai_url: str = Field(
        default="https://civitai.com",
        description="Address of Civitai, or of a server that answers like it.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address that `serve` listens on.", min_length=1
    )
    port: int = Field(default=7862, ge=0, le=65_535, description="Port that `serve` listens on.")
    gpu_workers: int = Field(default=1, ge=1, le=16, description="Pictures made at once.")
    library_workers: int = Field(default=1, ge=1, le=16, description="Library jobs run at once.")
    delivery_workers: int = Field(
        default=2, ge=1, le=16, description="Prompts delivered elsewhere at once."
    )

    backup_every_h: float = Field(
        default=24.0,
        ge=0,
        le=8760,
        description="Hours between backups without model files; 0: none. The page's choice counts "
        "more.",
    )
    backup_keep: int = Field(
        default=7, ge=1, le=1000, description="How many of those backups are kept."
    )

    @field_validator("redis_url")
    @classmethod
    def _require_scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("it must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("library_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part for part in value.split(os.pathsep) if part.strip())
        return value

    @field_validator("http_targets", mode="before")
    @classmethod
    def _split_targets(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def outputs(self) -> Path:
        """Where generated pictures are stored."""
        return self.output_dir or self.data_dir / "outputs"

    @property
    def outbox(self) -> Path:
        """Where prompts are delivered as files."""
        return self.outbox_dir or self.data_dir / "outbox"

    @property
    def database(self) -> str:
        """The database URL in force."""
        return (
            self.database_url or f"sqlite:///{(self.data_dir / 'lora-manager.sqlite3').as_posix()}"
        )

    def without_secrets(self) -> dict[str, Any]:
        """The settings in force as JSON can say them, without what lets somebody in anywhere."""
        shown = self.model_dump(mode="json", exclude=set(_SECRETS))
        return {
            name: value
            for name, value in shown.items()
            if not (isinstance(value, str) and _has_password(value))
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, `config.toml` of the data folder those two name, defaults."""
        folder = (
            init_settings().get("data_dir")
            or os.environ.get(_PREFIX + "DATA_DIR")
            or cls.model_fields["data_dir"].get_default(call_default_factory=True)
        )
        toml = TomlConfigSettingsSource(settings_cls, toml_file=Path(folder) / "config.toml")
        return init_settings, env_settings, toml


def _has_password(text: str) -> bool:
    """Whether it is an address with a login in it (`http://user:password@host`)."""
    return "://" in text and "@" in text
