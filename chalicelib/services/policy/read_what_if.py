"""Read what a what-if has found so far: its shards put together."""

from __future__ import annotations

from chalicelib.domain.whatif.report import Report, report_of
from chalicelib.errors import NotFoundError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.ports.ports import House


def read_what_if(job_id: str, house: House) -> Report:
    """Raises NotFoundError for a job that was never started, or a week ago."""
    job = house.what_ifs.read_job(job_id)
    if job is None:
        raise NotFoundError(f"there is no what-if {job_id}; they are kept for a week")
    return report_of(job, house.what_ifs.read_parts(job), SHARDS)
