import { assert, assertEquals } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { FakeClock } from "../../tests/fakes/fake_clock.ts";
import type { Attachment } from "../core/attachment.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { configureLog } from "../log.ts";
import { SysctlSync } from "./sysctl_sync.ts";

const FORWARD = "net/ipv4/ip_forward";
const RIGHT: Readonly<Record<string, string>> = {
  [FORWARD]: "1",
  "net/ipv6/conf/all/forwarding": "1",
  "net/ipv4/fib_multipath_hash_policy": "1",
  "net/ipv6/fib_multipath_hash_policy": "1",
  "net/ipv4/nexthop_compat_mode": "1",
  "net/ipv6/conf/eth1/accept_ra": "1",
};
const RA: IpRoute = {
  ...{ family: "ipv6", dst: "::/0", type: "unicast", table: "main", protocol: "ra", metric: 1024 },
  ...{ dev: "eth1", nextHops: [], flags: [] },
};

/** Sysctls in memory. What is in `stuck` cannot be written. */
class Fixture implements Disposable {
  readonly values: Record<string, string> = { ...RIGHT };
  readonly stuck = new Set<string>();
  readonly clock = new FakeClock();
  readonly logged: string[] = [];
  readonly written: string[] = [];
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-sysctl-" });
  attachments: Attachment[] = [];
  defaultRoutes: readonly IpRoute[] = [];
  /** Called when sysctls have been read. */
  onRead = (): void => {};

  make(writes = true): SysctlSync {
    configureLog({
      level: "info",
      format: "json",
      write: (line) => {
        const { level, msg, sysctl = "", was = "" } = JSON.parse(line);
        this.logged.push(`${level} ${msg} ${sysctl} ${was}`.trim());
      },
    });
    const links = (): readonly IpRoute[] => this.defaultRoutes;
    return new SysctlSync({
      sysctl: {
        read: (paths) => {
          const known = paths.filter((path) => path in this.values);
          const seen = Object.fromEntries(known.map((path) => [path, this.values[path]!]));
          this.onRead();
          return Promise.resolve(seen);
        },
        write: (values) => {
          for (const [path, value] of values) {
            this.written.push(path);
            if (!this.stuck.has(path)) this.values[path] = value;
          }
          const isStuck = values.some(([path]) => this.stuck.has(path));
          return isStuck ? Promise.reject(new Error("read-only")) : Promise.resolve();
        },
      },
      stateDir: this.dir,
      store: { list: () => this.attachments },
      node: {
        kernel: {
          links: [],
          routes: [],
          get defaultRoutes() {
            return links();
          },
        },
      },
      writes,
      now: this.clock.now,
    });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}

Deno.test("sync() sets what it finds at first, and repairs what was right", async () => {
  using f = new Fixture();
  f.values[FORWARD] = "0";
  const sysctls = f.make();
  await sysctls.sync();
  assertEquals(f.logged, [`info Set sysctl ${FORWARD} 0`]);
  assertEquals(sysctls.counters.repairs, 0);
  assertEquals(JSON.parse(Deno.readTextFileSync(`${f.dir}/sysctls.json`)), { [FORWARD]: "0" });
  f.values["net/ipv4/nexthop_compat_mode"] = "0";
  await sysctls.sync();
  assertEquals(f.logged.slice(1), [
    "warn Restored sysctl that somebody else changed net/ipv4/nexthop_compat_mode 0",
  ]);
  assertEquals(sysctls.counters.repairs, 1);
  assertEquals(await sysctls.differences(), []);
  // What somebody else did is nothing to be put back.
  assertEquals(JSON.parse(Deno.readTextFileSync(`${f.dir}/sysctls.json`)), { [FORWARD]: "0" });
});

Deno.test("sync() does not fight for ever, and shows the difference meanwhile", async () => {
  using f = new Fixture();
  const sysctls = f.make();
  await sysctls.sync();
  let shown = 0;
  for (let second = 0; second < 600; second++) {
    f.values[FORWARD] = "0";
    const again = await sysctls.sync();
    const differs = (await sysctls.differences()).includes(`sysctl ${FORWARD} is 0, not 1`);
    assertEquals(differs, f.values[FORWARD] === "0");
    if (differs) {
      shown++;
      assert(again !== undefined && again <= 60_000, String(again));
    }
    f.clock.advance(1_000);
  }
  assert(sysctls.counters.repairs >= 10 && sysctls.counters.repairs <= 20, "at most one a minute");
  assertEquals(shown, 600 - sysctls.counters.repairs);
  f.values[FORWARD] = "1";
  f.clock.advance(601_000);
  f.values["net/ipv6/conf/all/forwarding"] = "0";
  await sysctls.sync();
  f.values[FORWARD] = "0";
  await sysctls.sync();
  assertEquals(await sysctls.differences(), [], "after a calm time it is put right at once");
});

Deno.test("sync() tries all, says what it cannot set, and comes back to it", async () => {
  using f = new Fixture();
  f.stuck.add(FORWARD);
  f.values[FORWARD] = "0";
  f.values["net/ipv4/nexthop_compat_mode"] = "0";
  const sysctls = f.make();
  assertEquals(await sysctls.sync(), 1_000);
  assertEquals(f.values["net/ipv4/nexthop_compat_mode"], "1");
  assertEquals(f.logged[0], `warn Could not set sysctl ${FORWARD} 0`);
  await sysctls.sync();
  assertEquals(f.written.filter((path) => path === FORWARD).length, 1, "not at once");
  f.stuck.clear();
  f.clock.advance(1_000);
  await sysctls.sync();
  assertEquals(await sysctls.differences(), []);
});

Deno.test("sync() sees to links' ends once they are complete, and to none that went", async () => {
  using f = new Fixture();
  const one = attachment(1, { ip6: "2001:db8:f001::1" });
  const path = `net/ipv4/conf/${one.hostIfname}/rp_filter`;
  f.values[path] = "1";
  f.attachments = [{ ...one, state: "pending" }];
  const sysctls = f.make();
  await sysctls.sync();
  assertEquals(f.logged, []);
  f.attachments = [one];
  f.onRead = () => void (f.attachments = []);
  await sysctls.sync();
  assertEquals(f.logged, [], "detached while it was looked at");
  f.onRead = () => {};
  f.attachments = [one];
  await sysctls.sync();
  assertEquals(f.logged, [`warn Restored sysctl that somebody else changed ${path} 1`]);
});

Deno.test("a link that had an advertised default route is told to listen, also when it comes back", async () => {
  using f = new Fixture();
  const path = "net/ipv6/conf/eth1/accept_ra";
  const sysctls = f.make();
  await sysctls.sync();
  assertEquals(f.values[path], "1", "not of a link that has none");
  f.defaultRoutes = [RA];
  assert(sysctls.isBehind);
  await sysctls.sync();
  assertEquals([f.values[path], sysctls.isBehind], ["2", false]);
  f.defaultRoutes = [];
  f.values[path] = "1";
  const next = f.make();
  await next.sync();
  assertEquals(f.values[path], "2", "also after a restart");
});

Deno.test("without writing, what is wrong is said once and shown", async () => {
  using f = new Fixture();
  f.values[FORWARD] = "0";
  const sysctls = f.make(false);
  for (let n = 0; n < 3; n++) await sysctls.sync();
  assertEquals(f.logged, [`warn Found sysctl that should be another ${FORWARD}`]);
  assertEquals(await sysctls.differences(), [`sysctl ${FORWARD} is 0, not 1`]);
  assertEquals([f.written, [...Deno.readDirSync(f.dir)]], [[], []]);
});
