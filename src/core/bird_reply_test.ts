import { assertEquals, assertThrows } from "@std/assert";
import { parseBirdReply, parseProtocols } from "./bird_reply.ts";

const WELCOME = "0001 BIRD 2.0.12 ready.\n";
const PROTOCOLS = WELCOME +
  `2002-Name       Proto      Table      State  Since         Info
1002-flock_device Device     ---        up     2026-11-21 13:09:38  
     flock_node6 Static     master6    up     2026-11-21  
     flock_bgp6_2001_db8_25__1 BGP        ---        up     13:09:38.123  Established   
     flock_bgp4_198_51_100_1 BGP        ---        start  2026-11-21 13:09:38  Active        Socket: Connection refused
     flock_bgp4_198_51_100_2 BGP        ---        down   2026-11-21 13:09:38  
`;

Deno.test("parseBirdReply() tells success, absence and failure apart by the code", async (t) => {
  const cases: readonly (readonly [string, string, string, number])[] = [
    ["check", "0002-Reading configuration from /x\n0020 Configuration OK\n", "ok", 20],
    ["configure", "0002-Reading configuration from /x\n0003 Reconfigured\n", "ok", 3],
    [
      "in progress",
      "0002-Reading configuration from /x\n0004 Reconfiguration in progress\n",
      "ok",
      4,
    ],
    ["confirmed", "0018 Reconfiguration confirmed\n", "ok", 18],
    ["empty list", "", "ok", 0],
    ["no network", "8001 Network not found\n", "absent", 8001],
    ["no protocol", "8003 No protocols match\n", "absent", 8003],
    ["syntax", "0002-Reading configuration from /x\n8002 /x:1:1 syntax error\n", "error", 8002],
    ["command", "9001 syntax error, unexpected END\n", "error", 9001],
  ];
  for (const [name, text, status, code] of cases) {
    await t.step(name, () => {
      const reply = parseBirdReply(WELCOME + text);
      assertEquals([reply.status, reply.code], [status, code]);
    });
  }
});

Deno.test("parseBirdReply() keeps what BIRD says is wrong", () => {
  const reply = parseBirdReply(
    `${WELCOME}0002-Reading configuration from /x\n8002 /x:3:9 syntax error, unexpected '}'\n`,
  );
  assertEquals(reply.status === "error" && reply.message, "/x:3:9 syntax error, unexpected '}'");
});

Deno.test("parseBirdReply() puts lines without a code under the code before them", () => {
  const reply = parseBirdReply(
    `${WELCOME}1000-BIRD 2.0.12\n1011-Router ID is 1.2.3.4\n     Hostname is x\n0013 Daemon is up and running\n`,
  );
  assertEquals(reply.lines, [
    { code: 1000, text: "BIRD 2.0.12" },
    { code: 1011, text: "Router ID is 1.2.3.4" },
    { code: 1011, text: "     Hostname is x" },
    { code: 13, text: "Daemon is up and running" },
  ]);
});

Deno.test("parseBirdReply() refuses what has no code", () => {
  for (const text of [`${WELCOME}No such command. Press \`?' for help.\n`, "bird: gone\n"]) {
    assertThrows(() => parseBirdReply(text), SyntaxError, "it has no code");
  }
});

Deno.test("parseProtocols() reads every column in each time format", () => {
  assertEquals(parseProtocols(parseBirdReply(PROTOCOLS)), [
    {
      name: "flock_device",
      proto: "Device",
      table: undefined,
      state: "up",
      since: "2026-11-21 13:09:38",
      info: "",
    },
    {
      name: "flock_node6",
      proto: "Static",
      table: "master6",
      state: "up",
      since: "2026-11-21",
      info: "",
    },
    {
      name: "flock_bgp6_2001_db8_25__1",
      proto: "BGP",
      table: undefined,
      state: "up",
      since: "13:09:38.123",
      info: "Established",
    },
    {
      name: "flock_bgp4_198_51_100_1",
      proto: "BGP",
      table: undefined,
      state: "start",
      since: "2026-11-21 13:09:38",
      info: "Active        Socket: Connection refused",
    },
    {
      name: "flock_bgp4_198_51_100_2",
      proto: "BGP",
      table: undefined,
      state: "down",
      since: "2026-11-21 13:09:38",
      info: "",
    },
  ]);
});

Deno.test("parseProtocols() gives none when nothing matched, and refuses another list", () => {
  assertEquals(parseProtocols(parseBirdReply(`${WELCOME}8003 No protocols match\n`)), []);
  assertThrows(
    () => parseProtocols(parseBirdReply(`${WELCOME}1002-only three columns\n`)),
    SyntaxError,
    'protocol "only three columns"',
  );
});
