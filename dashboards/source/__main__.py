"""Write every dashboard beside this folder, into ``dashboards/grafana``."""

from __future__ import annotations

from pathlib import Path

from dashboards.source import overview, pipeline, rollout
from dashboards.source.model import to_text

FOLDER = Path(__file__).resolve().parent.parent / "grafana" / "dashboards"


def texts() -> dict[str, str]:
    """File name → what it holds."""
    made = (overview.dashboard(), rollout.dashboard(), pipeline.dashboard())
    return {f"{one['uid']}.json": to_text(one) for one in made}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
