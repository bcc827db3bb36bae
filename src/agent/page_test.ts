import { assert, assertEquals, assertRejects } from "@std/assert";
import { pageInput } from "../../tests/page_input.ts";
import { createPage } from "./page.ts";

Deno.test("createPage() looks once for all that ask at the same time", async () => {
  const { at, ...look } = pageInput();
  let looks = 0;
  const page = createPage(() => (looks++, Promise.resolve(look)), () => new Date(at));
  const [first, second] = await Promise.all([page(), page()]);
  assertEquals(first, second);
  assertEquals(looks, 1);
  assert(first.includes(`datetime="${at}"`));
  await page();
  assertEquals(looks, 2);
});

Deno.test("createPage() goes on after a look that failed", async () => {
  const { at: _, ...look } = pageInput();
  let fails = true;
  const page = createPage(
    () => fails ? Promise.reject(new Error("no ip")) : Promise.resolve(look),
    () => new Date(0),
  );
  await assertRejects(page, Error, "no ip");
  fails = false;
  assert((await page()).startsWith("<!DOCTYPE html>"));
});
