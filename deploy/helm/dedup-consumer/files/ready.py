"""Are all pods behind these services ready? `ready.py PORT SERVICE…` prints what each says; exit code 1 where one is not,
or none is there.
"""

import socket
import sys
import urllib.error
import urllib.request

PORT = int(sys.argv[1])


def answer(address: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(f"http://{address}:{PORT}/readyz", timeout=10) as response:
            return True, response.read().decode()
    except urllib.error.HTTPError as error:
        return False, error.read().decode()
    except OSError as error:
        return False, str(error)


def pods(service: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(service, PORT, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        print(f"{service}: {error}")
        return []


faults = 0
for service in sys.argv[2:]:
    addresses = pods(service)
    faults += not addresses
    for address in addresses:
        ready, said = answer(f"[{address}]" if ":" in address else address)
        faults += not ready
        print(f"{service} at {address}: {said}")
sys.exit(1 if faults else 0)
