"""Energy of the processor, where the kernel shows its counters (Linux powercap: RAPL of Intel's and AMD's packages)."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Joules of all processor packages of the machine, with whatever else runs on it.

    A counter begins anew after some 10^5 joules, so ask at least every few minutes. Virtual machines show no counters, and many
    machines only to root.
    """

    def __init__(self, folder: Path = POWERCAP):
        # One package is "intel-rapl:0" (AMD's too); its parts, "intel-rapl:0:1", are in its count.
        self._packages = [path for path in sorted(folder.glob("*-rapl:*")) if path.name.count(":") == 1]
        self._last = self._read()

    def since_last(self) -> float | None:
        """Joules since the last call or the beginning; None where they cannot be measured."""
        now, before = self._read(), self._last
        self._last = now
        if now is None or before is None:
            return None
        return sum((new - old) % around for (new, around), (old, _) in zip(now, before, strict=True)) / 1e6

    def _read(self) -> list[tuple[int, int]] | None:
        """Of every package, microjoules now and where its counter begins anew; None if one cannot be read."""
        try:
            counters = ("energy_uj", "max_energy_range_uj")
            found = [tuple(int((package / name).read_text()) for name in counters) for package in self._packages]
        except (OSError, ValueError):
            return None
        return found or None
