#!/bin/busybox sh
# The first process of the guest: limiterd on this kernel, ten connections too many, a dropped
# packet. It prints sections of lines for the test to read, and ends the machine.

/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin
mkdir -p /proc /sys /dev /tmp /run /var/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
while read -r module; do insmod "$module"; done < /modules

# The shell takes its own for one of a file.
ip() { /usr/bin/ip "$@"; }
section() { echo "=== $1"; }
metrics() { wget -q -O - http://127.0.0.1:9590/metrics | grep '^limiter_'; }
sum() { metrics | awk -v name="$1" 'index($0, name "{") == 1 { s += $NF } END { print s + 0 }'; }
end() {
    section log
    cat /tmp/log
    section end
    poweroff -f
}
wait_for() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        if [ $tries -gt 1500 ]; then
            section "in vain: $1"
            metrics
            end
        fi
        sleep 0.2
    done
}

section release
uname -r

ip link set lo up
ip netns add client
ip link add srv0 type veth peer name cli0 netns client
ip addr add 10.9.0.1/24 dev srv0
ip addr add fd09::1/64 dev srv0 nodad
ip link set srv0 up
ip -n client addr add 10.9.0.2/24 dev cli0
ip -n client addr add fd09::2/64 dev cli0 nodad
ip -n client link set cli0 up

cat > /tmp/limiter.toml <<'END'
mode = "enforce"
interfaces = ["srv0"]
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 5
END
limiterd --config /tmp/limiter.toml > /tmp/log 2>&1 &
wait_for 'grep -q "the witness watches" /tmp/log && metrics | grep -q limiter_connections'

# Eight connections of each of two sources; each says something after a while.
holding-server 10.9.0.1:25 '[fd09::1]:25' > /dev/null &
server=$!
wait_for 'netstat -ltn | grep -q fd09::1:25'
for address in 10.9.0.1 fd09::1; do
    for n in 1 2 3 4 5 6 7 8; do
        (sleep 12; echo EHLO; sleep 60) | ip netns exec client nc "$address" 25 &
    done
done
wait_for '[ "$(sum limiter_connections)" -ge 10 ]'
# A refused SYN is sent again after a second.
sleep 3
section held
for address in 10.9.0.1 fd09::1; do
    echo "established $(netstat -tn | grep ESTABLISHED | grep -c " $address:25 ")"
done
metrics

nft 'add table inet f; add chain inet f input { type filter hook input priority 0; }; add rule inet f input tcp dport 25 drop'
wait_for '[ "$(sum limiter_established_drops_total)" -gt 0 ]'
section dropped
metrics
nft flush ruleset

killall nc
kill $server
wait_for '[ "$(sum limiter_connections)" -eq 0 ]'
section closed
metrics
end
