import { assertEquals, assertStringIncludes } from "@std/assert";
import { createMetrics } from "./metrics.ts";

Deno.test("createMetrics() shows what was counted, as it is when it is asked for", async () => {
  const routes = { reinstalls: 2, installFailures: 0, repairs: 5 };
  const metrics = createMetrics({ routes });
  assertStringIncludes(await metrics.render(), "\nflock_route_reinstalls_total 2\n");
  routes.reinstalls++;
  const text = await metrics.render();
  assertEquals(text.split("\n").filter((line) => line !== "" && !line.startsWith("#")), [
    "flock_route_reinstalls_total 3",
    "flock_route_install_failures_total 0",
    "flock_link_repairs_total 5",
  ]);
});
