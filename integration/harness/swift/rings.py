"""Makes the one device of a Swift, and the rings that say so: rings.py FOLDER NAME:PORT..."""

import os
import sys

from swift.common.ring import RingBuilder

folder = sys.argv[1]
os.mkdir(os.path.join(folder, "device"))
for ring in sys.argv[2:]:
    name, port = ring.split(":")
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "device", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, name + ".ring.gz"))
