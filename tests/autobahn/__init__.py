"""Autobahn's fuzzingclient as the judge of our WebSockets: `make autobahn`. No part of the tests: it takes minutes."""
