# Makes a LAN of two machines in namespaces of their own, and starts a program on one of them.
# Runs as `unshare --user --map-root-user --net --mount sh lan.sh FOLDER PROGRAM...`, with the order
# to stop on standard input. The process id of the other machine is in FOLDER/client.
set -eu
folder=$1
shift
exec 3<&0 </dev/null
mount -t tmpfs none /run
# Users of services are not mapped here, and avahi-daemon gives its folder to one.
printf 'root:x:0:0:root:/:/bin/sh\navahi:x:0:0::/:/bin/false\n' >"$folder/passwd"
printf 'root:x:0:\navahi:x:0:\n' >"$folder/group"
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
if [ -e "$folder/services" ]; then
    mount --bind "$folder/services" /etc/avahi/services
fi
ip link set lo up
ip link add lan0 type veth peer name client0 address 02:00:00:00:00:09
unshare --net sleep 1000 &
client=$!
while [ "$(readlink /proc/$client/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link set client0 netns $client
ip addr add 192.0.2.1/24 dev lan0
ip link set lan0 up
nsenter --target $client --net sh -c '
    ip addr add 192.0.2.9/24 dev client0
    ip link set client0 up
    ip route add default via 192.0.2.1'
cd "$folder"
"$@" >"$folder/said" 2>&1 &
server=$!
echo $client >"$folder/client.new"
mv "$folder/client.new" "$folder/client"
read -r order <&3 || true
kill $server 2>/dev/null || true
# The shell would report a program that SIGTERM ends.
wait $server 2>/dev/null && code=0 || code=$?
echo $code >"$folder/code"
kill $client
wait $client 2>/dev/null || true
