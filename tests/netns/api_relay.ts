/**
 * A way from inside a network namespace to a server outside of it: takes TCP connections on loopback and
 * passes them on to a Unix socket, which no namespace hides. Run by `api_cluster.ts`.
 *
 * @module
 */
const [port = "", path = ""] = Deno.args;

const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(port) });
// `api_cluster.ts` waits for it.
Deno.stdout.writeSync(new TextEncoder().encode("relaying\n"));
for await (const inside of listener) {
  join(inside, () => Deno.connect({ transport: "unix", path }));
}

async function join(inside: Deno.Conn, connect: () => Promise<Deno.Conn>): Promise<void> {
  try {
    const outside = await connect();
    await Promise.all([
      inside.readable.pipeTo(outside.writable),
      outside.readable.pipeTo(inside.writable),
    ]);
  } catch {
    try {
      inside.close();
    } catch { /* the pipe closed it */ }
  }
}
