"""The faults, a module a family: each injects something, lets it last, and puts it right again."""

from collections.abc import Sequence

from tests.faults.families import broker, clocks, conflicts, database, disks, processes, stores
from tests.faults.families.fault import Fault
from tests.faults.site import Site


def process_faults(site: Site) -> Sequence[Fault]:
    """What is done to our own processes."""
    return processes.faults(site)


def other_faults(site: Site) -> Sequence[Fault]:
    """What is done to everything around them, as far as this machine and this database can have it.

    With MariaDB, what is of the database alone: all else is the same with PostgreSQL, and is tried there.
    """
    own = (database, conflicts)
    modules = own if site.database.engine.dialect.name == "mysql" else (broker, *own, disks, clocks, stores)
    return [fault for module in modules for fault in module.faults(site)]
