"""Files as terminals write them to a USB stick, and as other attendance software exports them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from openpyxl import Workbook

from sandbox.terminals.base import Punch, Quirks

_STATES = {"IN": "0", "OUT": "1", "": "255"}
_GARBAGE = "\x07\u00a4garbage\u00a4"


class Attlog:
    """`1_attlog.dat` of a ZKTeco terminal: the user id is padded, the third column is the terminal's number."""

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs: the mode and the adapter."""
        return {"mode": "file", "adapter": "attlog"}

    def write(self, directory: Path, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Path:
        """A file with these punches. See `FileWriter`."""
        lines = [f"{punch.user:>9}\t{punch.at}\t1\t{_STATES[punch.direction]}\t1\t0" for punch in punches]
        path = directory / "1_attlog.dat"
        path.write_bytes(_joined(lines, quirks, _GARBAGE).encode())
        return path


class CsvExport:
    """A table as CSV. Each software says what its columns are, and how it writes them."""

    file_name: ClassVar[str]
    header: ClassVar[Sequence[str]]
    encoding: ClassVar[str] = "utf-8"
    delimiter: ClassVar[str] = ","
    options: ClassVar[Mapping[str, Any]] = {}

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs: the mode, the adapter, and the date's order where the file does not say it."""
        return {"mode": "file", "adapter": "csv", "options": dict(self.options)}

    def write(self, directory: Path, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Path:
        """A file with these punches. See `FileWriter`."""
        lines = [self._line(self.row(punch)) for punch in punches]
        text = _joined(lines, quirks, _GARBAGE)
        path = directory / self.file_name
        path.write_bytes((self._line(self.header) + quirks.line_end + text).encode(self.encoding))
        return path

    def row(self, punch: Punch) -> Sequence[str]:
        """The cells of a punch."""
        raise NotImplementedError

    def _line(self, cells: Sequence[str]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self.delimiter, lineterminator="").writerow(cells)
        return line.getvalue()


class BioTimeCsv(CsvExport):
    """ZKBioTime's export of transactions."""

    file_name = "transactions.csv"
    encoding = "utf-8-sig"
    header = (
        "Employee ID",
        "First Name",
        "Department",
        "Date",
        "Time",
        "Punch State",
        "Work Code",
        "Area Name",
        "Serial Number",
        "Device Name",
        "Upload Time",
    )
    _states: ClassVar[Mapping[str, str]] = {"IN": "Check In", "OUT": "Check Out", "": ""}

    def row(self, punch: Punch) -> Sequence[str]:
        """See `CsvExport.row`."""
        date, time = str(punch.at).split()
        state = self._states[punch.direction]
        return (punch.user, punch.name, "R, D", date, time, state, "0", "HQ", "BT0001", "Gate", f"{date} {time}")


class IvmsCsv(CsvExport):
    """The original records of Hikvision's iVMS-4200: the id begins with an apostrophe."""

    file_name = "original-records.csv"
    encoding = "utf-16"
    delimiter = "\t"
    header = (
        "Person ID",
        "Name",
        "Department",
        "Time",
        "Attendance Status",
        "Attendance Check Point",
        "Custom Name",
        "Data Source",
        "Handling Type",
        "Temperature",
        "Abnormal",
    )
    _states: ClassVar[Mapping[str, str]] = {"IN": "Check-in", "OUT": "Check-out", "": "-"}

    def row(self, punch: Punch) -> Sequence[str]:
        """See `CsvExport.row`."""
        state = self._states[punch.direction]
        return (f"'{punch.user}", punch.name, "R/D", str(punch.at), state, "Gate", "", "Original", "", "-", "-")


class ZkTimeCsv(CsvExport):
    """ZKTime 5 on a computer that is set to the United States."""

    file_name = "attlog.csv"
    encoding = "cp1252"
    delimiter = ";"
    options: ClassVar[Mapping[str, Any]] = {"date_format": "mdy"}
    header = (
        "Department",
        "Name",
        "No.",
        "Date/Time",
        "Status",
        "Location ID",
        "ID Number",
        "VerifyCode",
        "CardNo",
    )
    _states: ClassVar[Mapping[str, str]] = {"IN": "C/In", "OUT": "C/Out", "": ""}

    def row(self, punch: Punch) -> Sequence[str]:
        """See `CsvExport.row`."""
        at = punch.at
        half = "AM" if at.hour < 12 else "PM"
        time = f"{at.month}/{at.day}/{at.year} {(at.hour + 11) % 12 + 1}:{at:%M:%S} {half}"
        return ("R;D", punch.name, punch.user, time, self._states[punch.direction], "1", "", "FP", "")


class BioTimeXlsx:
    """ZKBioTime's export of transactions as a workbook: dates and times are cells of that kind."""

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs: the mode and the adapter."""
        return {"mode": "file", "adapter": "xlsx"}

    def write(self, directory: Path, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Path:
        """A file with these punches. See `FileWriter`."""
        workbook = Workbook(write_only=True)
        sheet = workbook.create_sheet("Transactions")
        sheet.append(["Employee ID", "First Name", "Punch Time", "Punch State", "Serial Number"])
        for index, punch in enumerate(punches):
            if index == quirks.garbage_at:
                sheet.append(["", _GARBAGE.strip("\x07"), 17, None, None])
            sheet.append([punch.user, punch.name, punch.at, BioTimeCsv._states[punch.direction], "BT0001"])  # noqa: SLF001 - the same software
        path = directory / "transactions.xlsx"
        workbook.save(path)
        return path


def _joined(lines: Sequence[str], quirks: Quirks, garbage: str) -> str:
    lines = list(lines)
    if quirks.garbage_at is not None:
        lines.insert(quirks.garbage_at, garbage)
    return quirks.line_end.join(lines) + (quirks.line_end if quirks.final_line_end else "")
