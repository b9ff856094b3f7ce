module plimsoll.io/benches/reverse-proxy

go 1.22
