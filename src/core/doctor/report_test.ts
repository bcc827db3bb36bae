import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { healthyFacts, nodeConfig, sysctls } from "../../../tests/doctor_facts.ts";
import { CHECKS } from "./checks.ts";
import type { Facts } from "./facts.ts";
import { JUDGES } from "./judges.ts";
import { exitStatusOf, renderReport, reportOf } from "./report.ts";

Deno.test("reportOf() has nothing but the design to say of a healthy node", () => {
  const report = reportOf(healthyFacts());
  assertEquals(report.items.map(({ id }) => id), ["design"]);
  assertEquals([report.skipped, exitStatusOf(report)], [[], 0]);
  assertEquals(report.passed.length, Object.keys(CHECKS).length - 1);
});

Deno.test("reportOf() skips what needs a fact that is not known, and nothing else", async (t) => {
  const healthy = healthyFacts();
  for (const name of Object.keys(healthy) as (keyof Facts)[]) {
    await t.step(name, () => {
      const report = reportOf({ ...healthy, [name]: { unknown: `no ${name}` } });
      for (const { reason } of report.skipped) assertEquals(reason, `no ${name}`);
      const ids = report.skipped.flatMap((skip) => skip.ids);
      assert(ids.length > 0 || name === "nodeName", "nobody needs it");
      assertEquals(report.passed.filter((id) => ids.includes(id)), []);
      // That it is not known is what they find.
      const absent = ["bird-absent", "agent-absent"];
      assert(report.items.every(({ severity, id }) => severity === "note" || absent.includes(id)));
    });
  }
});

Deno.test("every check is some judge's", () => {
  const judged = new Set(JUDGES.flatMap(({ ids }) => ids));
  assertEquals(
    [...judged].sort(),
    (Object.keys(CHECKS) as typeof JUDGES[number]["ids"][number][]).sort(),
  );
});

Deno.test("exitStatusOf() is 1 with an error, and never that of a wrong option", () => {
  const warned = reportOf(healthyFacts({
    sysctls: { known: sysctls({ "net/ipv4/nexthop_compat_mode": "0" }) },
  }));
  assertEquals([warned.warnings, exitStatusOf(warned)], [1, 0]);
  const failed = reportOf(healthyFacts({ bird: { unknown: "Cannot reach BIRD" } }));
  assertEquals([failed.errors, exitStatusOf(failed)], [1, 1]);
});

Deno.test("renderReport() puts errors first, and says what was skipped and why", () => {
  const text = renderReport(reportOf(healthyFacts({
    sysctls: { known: sysctls({ "net/ipv4/nexthop_compat_mode": "0" }) },
    bird: { unknown: "Cannot reach BIRD" },
    runtime: { unknown: "/c does not exist" },
    config: { known: nodeConfig() },
  })));
  const first = (word: string): number => text.indexOf(word);
  assertEquals(text.split("\n")[0], "ERROR    bird-absent: Cannot reach BIRD");
  assert(first("WARNING  nexthop-compat") < first("NOTE     design"));
  assertStringIncludes(text, "         why  BIRD cannot read such routes");
  assertStringIncludes(text, "              sysctl -w net/ipv4/nexthop_compat_mode=1\n");
  assertStringIncludes(
    text,
    "SKIPPED  conflist-order, conflist-missing, plugin, conflist-versions, host-ports: /c does not exist\n",
  );
  assert(text.endsWith("skipped\n"));
  assert(!/ \n/.test(text), "blanks at the end of a line");
});
