import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { pageInput, pod } from "../../tests/page_input.ts";
import { renderPage } from "./page.ts";
import { pictureOf } from "./page_picture.ts";

Deno.test("renderPage() says what is wrong first, and everything in words", () => {
  const page = renderPage(pageInput());
  for (
    const text of [
      "✗ Something is wrong",
      "<li>Peer 198.51.100.1 is Active: Socket: Connection refused</li>",
      "<li>1 thing is not as wanted: 2001:db8:f001::c/128: the kernel does not have it</li>",
      ">✓ announced to 1 peer<",
      ">✗ Active: Socket: Connection refused<",
      ">hears 1 prefix, 1 address<",
      ">! held back: it is not Ready<",
      ">other pods: 2<",
      "web/b via 2001:db8:f001::b dev flock0000000b weight 3",
      "18446744073709551360",
    ]
  ) assertStringIncludes(page, text);
  assertEquals(renderPage(pageInput()), page);
});

Deno.test("renderPage() says that policies are not in force", () => {
  const { status } = pageInput();
  const policies = { total: 1, selectedPods: 1, inForce: false, error: "Cannot run <nft>" };
  assertStringIncludes(
    renderPage(pageInput({ status: { ...status, policies } })),
    "<li>Policies are not in force: Cannot run &lt;nft&gt;</li>",
  );
});

Deno.test("renderPage() says that all is well, and that there is nothing", () => {
  const { status, peers, anycast, allocations, routes } = pageInput();
  const page = renderPage(pageInput({
    status: {
      ...status,
      differences: { computed: true, count: 0, first: [] },
      prefixes: [],
      pods: 0,
    },
    peers: { ...peers, items: peers.items.slice(0, 1) },
    anycast: { ...anycast, items: [] },
    allocations: { ...allocations, items: [] },
    routes: { ...routes, items: [] },
  }));
  for (
    const text of [
      "✓ All is well",
      "No pod of this node has one.",
      "None is attached.",
      "None: kernel and BIRD have what flock wants.",
      "The node has none.",
    ]
  ) assertStringIncludes(page, text);
});

Deno.test("renderPage() says nothing of differences before it is known what is wanted", () => {
  const { status, routes } = pageInput();
  const page = renderPage(pageInput({
    status: { ...status, differences: { computed: false, count: 0, first: [] } },
    routes: { ...routes, computed: false, items: [] },
  }));
  assertStringIncludes(page, ">! What routes are wanted is not known yet<");
  assertStringIncludes(
    page,
    "! What is wanted is not known: no pass over the routes was made yet.",
  );
  assert(!page.includes("have what flock wants"));
});

Deno.test("renderPage() asks for nothing from elsewhere, and holds no script", () => {
  const page = renderPage(pageInput());
  const links = [...page.matchAll(/\b(?:src|href|action|data)="([^"]*)"/g)].map(([, url]) => url);
  assertEquals(links, ["data:,"]);
  assert(!/<script|@import|url\(|\bon\w+=/i.test(page));
  assertMatch(page, /Content-Security-Policy" content="default-src 'none'/);
});

Deno.test("renderPage() lets no value become markup", () => {
  const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;<%= 1 %>`;
  const poisoned = JSON.parse(
    JSON.stringify(pageInput()),
    // Kinds are the types' own; states are compared. Everything else may come from anywhere.
    (key, value) => typeof value === "string" && key !== "kind" ? evil : value,
  );
  const page = renderPage(poisoned);
  assert(!/<script|<img/i.test(page));
  // Nothing but what the template itself has.
  const tags = (text: string): readonly string[] =>
    [...new Set([...text.matchAll(/<([a-z]\w*)/g)].map(([, tag]) => tag!))].sort();
  assertEquals(tags(page).filter((tag) => !tags(renderPage(pageInput())).includes(tag)), []);
  for (const [tag] of page.matchAll(/<[a-z][^<>]*>/g)) {
    assert(!/\son\w+=|alert/.test(tag.replaceAll(/"[^"]*"/g, '""')), tag);
  }
});

Deno.test("pictureOf() keeps boxes apart, inside the picture, and draws lines between those it has", () => {
  const { anycast, allocations, ...rest } = pageInput();
  const many = Array.from({ length: 100 }, (_, n) => ({
    ...anycast.items[0]!,
    address: `2001:db8:ffff::${n.toString(16)}`,
    pods: [{ pod: `web/p${n}`, weight: 1 }],
  }));
  const items = many.map(({ pods }, n) => pod(pods[0]!.pod, n + 1));
  for (
    const input of [pageInput(), {
      ...rest,
      anycast: { ...anycast, items: many },
      allocations: { ...allocations, items },
    }]
  ) {
    const { width, height, boxes, lines } = pictureOf(input);
    for (const [n, box] of boxes.entries()) {
      assert(box.x >= 0 && box.y >= 0 && box.x + box.width <= width, JSON.stringify(box));
      assert(box.y + box.height <= height);
      for (const other of boxes.slice(n + 1)) {
        const apart = box.x !== other.x || box.y + box.height <= other.y ||
          other.y + other.height <= box.y;
        assert(apart, `${JSON.stringify(box)} and ${JSON.stringify(other)}`);
      }
      for (const { text, y } of box.texts) {
        assert(text.length < 40 && y < box.y + box.height);
      }
    }
    assert(lines.length >= 5);
    assert(boxes.length <= 60);
  }
  const cut = pictureOf({ ...rest, allocations, anycast: { ...anycast, items: many } })
    .boxes.flatMap(({ texts }) => texts.map(({ text }) => text));
  assertEquals(cut.filter((text) => text.endsWith(" more")), ["76 more", "77 more"]);
});
