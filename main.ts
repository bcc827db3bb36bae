/**
 * The one executable: decides what it was started as, and loads only that. Nothing is imported
 * statically, so that the CNI plugin starts as fast as Deno does.
 *
 * | started with                       | it is                         |
 * | ---------------------------------- | ----------------------------- |
 * | `CNI_COMMAND` and no argument      | the CNI plugin                |
 * | an argument                        | that command                  |
 * | neither, as `flock-agent`          | `flock agent`                 |
 * | neither, as `flock-installer`      | `flock install`               |
 * | neither                            | help, exit 2                  |
 *
 * @module
 */
if (Deno.args.length === 0 && Deno.env.get("CNI_COMMAND")) {
  const { main } = await import("./src/cni/main.ts");
  await main();
} else {
  const yaml = () => import("./src/std.ts");
  const { quick, runInspect } = await import("./src/cli/quick.ts");
  const done = await quick(Deno.args, yaml);
  if (done !== undefined) Deno.exit(done);
  const { main } = await import("./src/cli/main.ts");
  const args = Deno.args.length > 0 ? Deno.args : await argumentsOfName();
  const status = await main(args, {
    runAgent: async (...given) =>
      await (await import("./src/agent/main.ts")).runAgent(...given, {
        kube: () => import("./src/io/kube.ts"),
      }),
    birdRun: async (...given) => (await import("./src/cli/bird_run.ts")).birdRun(...given),
    birdStop: async (...given) => (await import("./src/cli/bird_stop.ts")).birdStop(...given),
    install: async (...given) => (await import("./src/cli/install.ts")).install(...given),
    uninstall: async (...given) => (await import("./src/cli/uninstall.ts")).uninstall(...given),
    drain: async (...given) => (await import("./src/cli/drain.ts")).drain(...given),
    undrain: async (...given) => (await import("./src/cli/drain.ts")).undrain(...given),
    doctor: async (...given) => (await import("./src/cli/doctor.ts")).doctor(...given),
    inspect: (given) => runInspect(given, yaml),
    demo: async (...given) => (await import("./src/cli/demo.ts")).demo(...given),
  });
  Deno.exit(status);
}

/** What the name of the executable stands for. Only `node:process` tells argv[0], hence only here. */
async function argumentsOfName(): Promise<string[]> {
  const { argv0 } = await import("node:process");
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  if (name === "flock-agent") return ["agent"];
  if (name === "flock-installer") return ["install"];
  return [];
}
