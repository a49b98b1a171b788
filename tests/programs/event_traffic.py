"""Send, claim, ack, nack and requeue at random until stdin ends: `event_traffic.py DB NUMBER`."""

import random
import select
import sys

from raven import BusClient
from raven.errors import DeliveryError

db, number = sys.argv[1], int(sys.argv[2])
rng = random.Random(number)
addresses = [f"t{index}:s{index}" for index in range(3)]
with BusClient.at(addresses[number], db) as bus:
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:  # slowly: the viewers must keep up
        to = rng.sample(addresses, rng.choice((1, 1, 2, 3)))
        bus.send(to, rng.choice(("odd", "even")), "x" * rng.choice((1, 500)), max_attempts=2)
        for message in bus.claim(3, lease_s=0.3):
            try:
                if rng.random() < 0.6:
                    bus.ack(message.id)
                elif rng.random() < 0.8:
                    bus.nack(message.id, reason=rng.choice((None, "later")))
            except DeliveryError:  # its lease ran out meanwhile
                pass
        if rng.random() < 0.1:
            bus.requeue(all=True)
