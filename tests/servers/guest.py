"""A virtual machine with a kernel of Debian (tools/make-test-kernel), for what the kernel of this machine may lack.

    this machine                                   the guest, at the same paths
    /                 -- 9p, read-only ---------->  /            (programs, libraries, the checkout, its environment)
    folder            -- mkfs.ext4 -d, a disk --->  folder       (ext4 with fs-verity; what happens to it stays there)
    work/exchange     <- 9p --------------------->  work/exchange

So a Python program runs in there with this environment, as root, on paths that its test knows. The processor is
emulated (TCG), so neither /dev/kvm nor any right is needed; the price is that all is some ten times slower.
"""

import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers import programs
from tests.servers.reaper import reaper

_CHECKOUT = Path(__file__).parents[2]
_MAKE_KERNEL = _CHECKOUT / "tools" / "make-test-kernel"

_TIMEOUT = 500
"""Seconds, below the limit of a test: the console's text tells more than that one would."""
_MEMORY = "512M"
_DISK_SIZE = "128M"

# The guest's first process. Where it fails it ends, and the kernel panics, which ends the machine.
_INIT = r"""#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
mount -t proc proc /proc
for module in /modules/*; do insmod "$module"; done

options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,cache=loose,$options machine /machine
mount -t devtmpfs dev /machine/dev
mount -t proc proc /machine/proc
. /paths
mount -t 9p -o $options exchange "/machine$exchange"
mount -t ext4 /machine/dev/vda "/machine$folder"

status=0
chroot /machine /bin/sh "$exchange/job" >"/machine$exchange/output" || status=$?
echo $status >"/machine$exchange/status"
umount "/machine$folder"
poweroff -f
"""


class GuestFailedError(Exception):
    """The program failed in the guest, or never ran; the message ends with the console's text."""


def run(arguments: Sequence[str | Path], folder: Path, work: Path) -> str:
    """Boot, run Python with these arguments on a copy of `folder`, and give what it printed.

    The program starts in the checkout. Its stderr goes to the console. work: an empty folder, outside of `folder`.
    """
    kernel = _kernel()
    qemu = programs.find("qemu-system-x86_64", "qemu-system-x86")
    exchange = work / "exchange"
    exchange.mkdir()
    job = f"cd {shlex.quote(str(_CHECKOUT))} && exec {shlex.join([sys.executable, *map(str, arguments)])}\n"
    (exchange / "job").write_text(job)
    paths = f"exchange={shlex.quote(str(exchange))}\nfolder={shlex.quote(str(folder))}\n"
    console = work / "console"
    command: list[str | Path] = [
        *(qemu, "-no-user-config", "-nodefaults", "-display", "none", "-nic", "none", "-no-reboot"),
        *("-machine", "pc", "-accel", "tcg,tb-size=128", "-cpu", "max", "-m", _MEMORY),
        *("-kernel", kernel / "vmlinuz", "-append", "console=ttyS0 quiet panic=-1"),
        *("-initrd", _make_initramfs(kernel, work, paths)),
        *("-serial", f"file:{console}"),
        *("-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"),
        *("-virtfs", f"local,path={_escaped(exchange)},mount_tag=exchange,security_model=none"),
        *("-drive", f"file={_escaped(_make_disk(folder, work))},format=raw,if=virtio,cache=unsafe"),
    ]
    ending = _run_to_its_end(command)
    status = exchange / "status"
    if not status.exists():
        raise GuestFailedError(f"the guest {ending}\n{_tail(console)}")
    if (number := status.read_text().strip()) != "0":
        raise GuestFailedError(f"the program in the guest ended with status {number}\n{_tail(console)}")
    return (exchange / "output").read_text()


def _kernel() -> Path:
    if platform.machine() != "x86_64":
        programs.missing(
            f"the guest is an x86_64 machine that runs this machine's programs: {platform.machine()} is not"
        )
    asked = subprocess.run([_MAKE_KERNEL, "--path"], check=True, stdout=subprocess.PIPE, text=True)
    folder = Path(asked.stdout.strip())
    if not (folder / "complete").exists():
        programs.missing("the kernel for the guest is not there: run tools/make-test-kernel (make test does)")
    return folder


def _make_initramfs(kernel: Path, work: Path, paths: str) -> Path:
    cpio = programs.find("cpio", "cpio")
    root = work / "initramfs"
    for name in ("bin", "proc", "machine"):
        (root / name).mkdir(parents=True)
    shutil.copy(kernel / "busybox", root / "bin" / "busybox")
    shutil.copytree(kernel / "modules", root / "modules")
    (root / "paths").write_text(paths)
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = work / "initramfs.cpio"
    with archive.open("wb") as output:
        subprocess.run([cpio, "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=output, check=True)
    return archive


def _make_disk(folder: Path, work: Path) -> Path:
    mkfs = programs.find("mkfs.ext4", "e2fsprogs")
    disk = work / "disk"
    subprocess.run(
        [mkfs, "-q", "-O", "verity", "-b", "4096", "-d", folder, disk, _DISK_SIZE],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return disk


def _run_to_its_end(command: Sequence[str | Path]) -> str:
    """How it ended, in words."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    reaper().watch(process.pid)
    try:
        printed, _ = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"did not end within {_TIMEOUT} s"
    else:
        return f"ended with status {process.returncode} before its program did\n{printed.decode(errors='replace')}"
    finally:
        process.kill()
        process.communicate()
        reaper().forget(process.pid)


def _escaped(path: Path) -> str:
    """As a value in an option of qemu, where a comma begins the next one."""
    return str(path).replace(",", ",,")


def _tail(console: Path) -> str:
    if not console.exists():
        return "(the console is empty)"
    return "\n".join(console.read_text(errors="replace").splitlines()[-60:])
