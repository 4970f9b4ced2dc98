"""What a dub says of itself when it is done: on the screen, and in a file."""

import json
from typing import NamedTuple

from lipsync.dubbing.remark import Remark
from lipsync.errors import LipsyncError
from lipsync.files import whole

SHOWN = 20  # remarks that are printed; the file has all


class DubReport(NamedTuple):
    """What was written.

    Attributes:
        out: The file.
        frames: In it.
        painted: How many of them have a painted face.
        seconds: Its length.
        remarks: On stretches of the source video: frames without a face, profiles, huge faces, ...
    """

    out: str
    frames: int
    painted: int
    seconds: float
    remarks: list[Remark]


def tell(report: DubReport, leftover: str) -> None:
    """Prints what was done, and what a viewer may wonder about."""
    for remark in report.remarks[:SHOWN]:
        print(f"  {remark}")
    if len(report.remarks) > SHOWN:
        print(f"  and {len(report.remarks) - SHOWN} more, which --report=FILE.json names")
    if leftover:
        print(f"  {leftover}")
    passed = report.frames - report.painted
    print(f"{report.out}: {report.frames} frames, {report.painted} painted, {passed} passed through")


def save(report: DubReport, path: str) -> None:
    """Writes a report as JSON, times in seconds; raises LipsyncError where that cannot be."""
    said = report._asdict() | {
        "remarks": [
            remark._asdict() | {"start": float(remark.start), "end": float(remark.end)} for remark in report.remarks
        ]
    }
    try:
        with whole(path) as beside:
            beside.write_text(json.dumps(said, indent=2) + "\n")
    except OSError as error:
        raise LipsyncError(f"{path}: cannot be written ({error})") from error
