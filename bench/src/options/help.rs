//! The longer texts of `--help`.

pub(super) const ABOUT: &str = "Measures a WebSocket server from outside, and checks every reply";

pub(super) const AFTER: &str = "\
Latency is measured in an open loop by default: messages leave by the clock, and each is timed
from the moment at which it should have left, so that a stall of the server is charged for every
message of that time. Where this client itself is the bottleneck, it says so and shows no latency.

Examples:
  tidegate-bench echo ws://127.0.0.1:8080/echo -c 1000 -r 50000 -d 30s --require 'p99<5ms'
  tidegate-bench idle ws://127.0.0.1:8080/echo -c 100000 --processes 2 -t 4 --ramp 20000 --verify
  tidegate-bench fanout ws://127.0.0.1:8080/ws/room -c 1000 --publishers 5 -r 100
  tidegate-bench churn ws://127.0.0.1:8080/echo -c 100 -r 2000 --pid $(pidof tidegate)
  tidegate-bench storm ws://127.0.0.1:8080/echo -c 10000
  tidegate-bench slow ws://127.0.0.1:8080/echo -c 200 --slow 20 -r 5000
  tidegate-bench mixed ws://127.0.0.1:8080/echo -c 10000 --idle 90 --echo 8 --churn 2

Exit codes:
  0 all went well, and every --require holds   1 it did not   2 wrong usage";

pub(super) const ECHO: &str = "\
Without --rate, --closed, -p or -n: an open loop with 10 messages per second on each connection.

Examples:
  latency at a rate, with a picture and a gate for CI:
    tidegate-bench echo ws://127.0.0.1:8080/echo -c 1000 -r 50000 --plot echo.svg --require 'p99<5ms'
  what one core of the server can do:
    tidegate-bench echo ws://127.0.0.1:8080/echo -c 100 --closed --core 1 --pid $(pidof tidegate)
  sixteen messages in one send:
    tidegate-bench echo ws://127.0.0.1:8080/echo -c 100 -p 16";

pub(super) const IDLE: &str = "\
Pings of the server are answered. With --pid, the growth of its memory is told: for all
connections, and for those beyond the first tenth.

Examples:
  memory of an idle connection:
    tidegate-bench idle ws://127.0.0.1:8080/echo -c 18000 --ramp 10000 --pid $(pidof tidegate)
  a ping and an echo on each of a hundred thousand:
    tidegate-bench idle ws://127.0.0.1:8080/echo -c 100000 --processes 2 -t 3 --verify
  does everybody hear a publication? (publish when it says that it is ready)
    tidegate-bench idle ws://127.0.0.1:8080/feed/news -c 10000 --ping --expect-broadcast 1";

pub(super) const FANOUT: &str = "\
The path must name a topic in which everybody hears what anybody says, the speaker too. Missing,
doubled, reordered and changed messages are counted for each subscriber; latency is that of each
delivery. Without --rate, --closed, --burst or -n: 10 messages per second from each publisher.

Examples:
  tidegate-bench fanout ws://127.0.0.1:8080/ws/room -c 1000 -r 100 --require 'missing=0'
  tidegate-bench fanout ws://127.0.0.1:8080/ws/room -c 1000 --topics 50 --publishers 2 -r 1000
  tidegate-bench fanout ws://127.0.0.1:8080/ws/room -c 10000 --burst 16 --closed";

pub(super) const CHURN: &str = "\
All connections are opened; then one after the other is closed and opened again. Latency is that
of one whole turn: from the moment at which the close should have begun (with --rate) or began,
to the 101 of the connect that follows.

Examples:
  tidegate-bench churn ws://127.0.0.1:8080/echo -c 200 --pid $(pidof tidegate)
  tidegate-bench churn ws://127.0.0.1:8080/echo -c 200 -r 1000 --reset";

pub(super) const STORM: &str = "\
Every client is a state machine: INIT, OPEN, RECONNECTING, FAILED. Try n (from 0) comes
--backoff x 2^n after the last one failed, at most --backoff-max, and of that a random part
between the half and the whole. Told is when 50, 90, 99 and 100 % were back, and after how many
tries.

Examples:
  tidegate-bench storm ws://127.0.0.1:8080/echo -c 10000
  tidegate-bench storm ws://127.0.0.1:8080/echo -c 10000 --by-server -d 2m   (restart it meanwhile)";

pub(super) const SLOW: &str = "\
In the first half of the time all clients read. In the second half the slow ones go on sending
(or, with --fanout, being subscribed) but read no more. Compared are the latencies of the others.
That the server cuts the slow ones off is no fault; it is counted.

Examples:
  tidegate-bench slow ws://127.0.0.1:8080/echo -c 200 --slow 20 -r 5000 -d 20s
  tidegate-bench slow ws://127.0.0.1:8080/ws/room -c 200 --slow 20 --fanout -r 500 -s 1KiB";

pub(super) const MIXED: &str = "\
Each thread's connections are split by the weights. Latency is that of the echoes.

Examples:
  tidegate-bench mixed ws://127.0.0.1:8080/echo -c 10000 -r 5000 -d 30s
  tidegate-bench mixed ws://127.0.0.1:8080/echo -c 1000 --idle 0 --echo 50 --churn 50 --reset";
