import { assertEquals } from "@std/assert";
import { isBgpSocket, parseTcpSockets } from "./tcp_sockets.ts";

const TCP =
  `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4203547 1 0000000082555e53 100 0 0 10 0
   1: 0B6433C6:00B3 016433C6:AD1B 01 00000000:00000000 00:00000000 00000000     0        0 4203154 2 00000000cc3aac88 20 4 27 14 -1
   2: 0B6433C6:DBFE 0A7100CB:00B3 06 00000000:00000000 03:0000162C 00000000     0        0 0 3 000000002c02ce04
   3: 0B6433C6:00B3 016433C6:AD1C 01 00000000:00000000 00:00000000 00000000     0        0 0 1 00000000cc3aac88 20 4 27 14 -1
`;
const TCP6 =
  `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: B80D0120000025000000000011000000:86EF B80D0120000025000000000001000000:00B3 01 00000000:00000000 00:00000000 00000000     0        0 4203158 2 00000000a140b141 20 4 25 14 -1
   1: 0000000000000000FFFF00000B6433C6:1F90 0000000000000000FFFF0000016433C6:0050 01 00000000:00000000 00:00000000 00000000     0        0 7 2 00000000a140b141 20 4 25 14 -1
`;

Deno.test("parseTcpSockets() reads both lists, without sockets that are closing or not accepted", () => {
  const shown = parseTcpSockets(TCP + TCP6).map((s) =>
    [s.state, s.localAddress, s.localPort, s.peerAddress, s.peerPort, s.inode].join(" ")
  );
  assertEquals(shown, [
    "listening 0.0.0.0 179 0.0.0.0 0 4203547",
    "established 198.51.100.11 179 198.51.100.1 44315 4203154",
    "established 2001:db8:25::11 34543 2001:db8:25::1 179 4203158",
    "established 198.51.100.11 8080 198.51.100.1 80 7",
  ]);
});

Deno.test("isBgpSocket() goes by either end's port", () => {
  const matches = (ports: readonly number[]): readonly string[] =>
    parseTcpSockets(TCP + TCP6).filter((s) => isBgpSocket(s, ports)).map(({ inode }) => inode);
  assertEquals(matches([179]), ["4203547", "4203154", "4203158"]);
  assertEquals(matches([80]), ["7"]);
});
