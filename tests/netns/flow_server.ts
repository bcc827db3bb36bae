/**
 * A server inside a network namespace that says who it is and whom it sees; run by `flows.ts`.
 *
 *     flow_server.ts NAME ADDRESS...
 *
 * TCP, on every address: a request is a line with a number of bytes, the answer a line with the name and
 * the client's address, and so many bytes. UDP, on the addresses given: each datagram is answered with
 * that line, from the address that was asked.
 *
 * @module
 */
import { FLOW_PORT } from "./flow_wire.ts";

const [name = "", ...addresses] = Deno.args;
const encoder = new TextEncoder();

const listener = Deno.listen({ hostname: "::", port: FLOW_PORT });
for (const address of addresses) {
  // A socket of its own for each: one that is bound to no address answers from the host's own.
  answerDatagrams(Deno.listenDatagram({ transport: "udp", hostname: address, port: FLOW_PORT }));
}
// `flows.ts` waits for it.
Deno.stdout.writeSync(encoder.encode("serving\n"));
for await (const conn of listener) {
  // A client that goes away ends its own connection only.
  answer(conn).catch(() => {}).finally(() => conn.close());
}

async function answer(conn: Deno.TcpConn): Promise<void> {
  const line = encoder.encode(introduction(conn.remoteAddr.hostname));
  const buffer = new Uint8Array(64);
  for (let asked = "";;) {
    const read = await conn.read(buffer);
    if (read === null) return;
    asked += new TextDecoder().decode(buffer.subarray(0, read));
    if (!asked.endsWith("\n")) continue;
    const answer = new Uint8Array(line.length + Number(asked));
    answer.set(line);
    for (let sent = 0; sent < answer.length;) sent += await conn.write(answer.subarray(sent));
    asked = "";
  }
}

async function answerDatagrams(socket: Deno.DatagramConn): Promise<void> {
  for await (const [, from] of socket) {
    await socket.send(encoder.encode(introduction((from as Deno.NetAddr).hostname)), from);
  }
}

function introduction(client: string): string {
  // An IPv4 client at a socket of IPv6 (RFC 4291, section 2.5.5.2).
  return `${name} ${client.replace("::ffff:", "")}\n`;
}
