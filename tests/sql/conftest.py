"""An opened database of each kind; connections and tasks are counted at the end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.ports import Backend
from rollout_sql import open_backend


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rollout.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def backend(url: str) -> AsyncIterator[Backend]:
    opened = await open_backend(url, migrate=True)
    yield opened
    await opened.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
