"""Looks for the provisioning server as Jitsi does, and prints what it finds.

Bonjour: the strings of the TXT record, in lines. DHCP: the URL.
Usage: jitsi_discovery.py dhcp|bonjour|raw ADDRESS [HEX]
raw sends the packet HEX instead, and prints how long the answer is.
"""

import socket
import struct
import sys
import time

# The address that `tests/discovery.rs` gives the client's interface.
HARDWARE = bytes.fromhex("020000000009")
# Much longer than Jitsi waits, for machines that are busy.
PATIENCE = 20


def inform(address, transaction):
    """What dhcp4java makes of Jitsi's request: 548 bytes."""
    packet = bytes([1, 1, 6, 0]) + transaction + bytes(4)
    packet += socket.inet_aton(address) + bytes(12)
    packet += HARDWARE + bytes(10) + bytes(64) + bytes(128)
    packet += bytes([99, 130, 83, 99, 53, 1, 8, 55, 1, 224, 255])
    return packet.ljust(548, b"\0")


def options(packet):
    found, at = {}, 240
    while packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        length = packet[at + 1]
        found[packet[at]] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def exchange(packet, patience):
    """The first answer with the same transaction. The request is repeated, as Jitsi does."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.bind(("", 6768))
    client.settimeout(0.3)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        client.sendto(packet, ("255.255.255.255", 6767))
        try:
            answer, _ = client.recvfrom(1500)
        except socket.timeout:
            continue
        if answer[4:8] == packet[4:8]:
            return answer
    return None


def dhcp(address):
    answer = exchange(inform(address, b"\x12\x34\x56\x78"), PATIENCE)
    if answer is None:
        sys.exit("no answer")
    sys.stdout.buffer.write(options(answer)[224])


def skip(packet, at):
    while packet[at]:
        if packet[at] >= 192:
            return at + 2
        at += 1 + packet[at]
    return at + 1


def records(packet, kind):
    """The data of the records of this kind."""
    counts = struct.unpack("!6H", packet[:12])
    at = 12
    for _ in range(counts[2]):
        at = skip(packet, at) + 4
    for _ in range(sum(counts[3:])):
        at = skip(packet, at)
        found, _, _, length = struct.unpack("!HHIH", packet[at : at + 10])
        at += 10
        if found == kind:
            yield packet[at : at + length]
        at += length


def bonjour(address):
    multicast = ("224.0.0.251", 5353)
    own = socket.inet_aton(address)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(("", 5353))
    client.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(multicast[0]) + own)
    client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
    client.settimeout(0.3)
    labels = [b"Provisioning URL", b"_https", b"_tcp", b"local"]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    question = struct.pack("!6H", 0, 0, 2, 0, 0, 0)
    for kind in (33, 16):
        question += name + struct.pack("!2H", kind, 1)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        client.sendto(question, multicast)
        try:
            packet, _ = client.recvfrom(9000)
        except socket.timeout:
            continue
        for text in records(packet, 16) if packet[2] & 128 else ():
            while text:
                sys.stdout.buffer.write(text[1 : 1 + text[0]] + b"\n")
                text = text[1 + text[0] :]
            return
    sys.exit("no answer")


what, address = sys.argv[1:3]
if what == "raw":
    answer = exchange(bytes.fromhex(sys.argv[3]), 1)
    print("nothing" if answer is None else len(answer))
else:
    {"dhcp": dhcp, "bonjour": bonjour}[what](address)
