"""The same journeys of exhibits with their bytes in an S3 bucket instead of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.functional.test_exhibits import (
    record,
    test_a_cleaned_copy_is_rebuilt_and_may_not_be_the_original,
    test_a_file_goes_from_the_monitor_to_the_public_as_another_file,
    test_originals_are_downloaded_as_attachments_in_a_sandbox_and_that_is_noted,
    test_the_same_file_twice_is_one_blob_and_is_said,
    test_what_is_refused_leaves_nothing_behind_and_is_said_at_the_field,
)
from tests.s3 import S3, s3_server
from tracker.config import Config

__all__ = [
    "record",
    "test_a_cleaned_copy_is_rebuilt_and_may_not_be_the_original",
    "test_a_file_goes_from_the_monitor_to_the_public_as_another_file",
    "test_originals_are_downloaded_as_attachments_in_a_sandbox_and_that_is_noted",
    "test_the_same_file_twice_is_one_blob_and_is_said",
    "test_what_is_refused_leaves_nothing_behind_and_is_said_at_the_field",
]


# With a folder they run on both databases; this is the other half of "SQLite and folder, PostgreSQL and S3".
pytestmark = pytest.mark.only("postgresql")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def config(make_config: Callable[..., Config], database_url: str, s3: S3) -> Config:
    return make_config(database_url=database_url, storage_url=s3.bucket())
