# The executable in a small image. Build with: docker build -t flock:0.1.0 .
FROM denoland/deno:debian-2.9.6 AS build
WORKDIR /src
COPY deno.json deno.lock main.ts ./
COPY scripts scripts
COPY src src
COPY templates templates
# No launcher in an image: it would need Deno and the bundle beside it.
RUN deno task build --require-compile

FROM debian:bookworm-20250520-slim
# The versions that are tested; what Debian mends in them comes along. BIRD is started by
# "flock bird-run" only; a package's service never starts in an image's build.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends \
  bird2=2.0.12-* \
  conntrack=1:1.4.7-* \
  iproute2=6.1.0-* \
  nftables=1.0.6-* \
  util-linux=2.38.1-* \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/dist/flock /usr/local/bin/flock
# Started by these names it is "flock agent" and "flock install".
RUN ln -s flock /usr/local/bin/flock-agent && ln -s flock /usr/local/bin/flock-installer
# Root: it changes the node's network. What it may besides is in deploy/.
ENTRYPOINT ["/usr/local/bin/flock"]
