# The executable in a small image. Build with: docker build -t flock .
FROM denoland/deno:debian-2.9.6 AS build
WORKDIR /src
COPY deno.json deno.lock main.ts ./
COPY scripts scripts
COPY src src
COPY templates templates
# No launcher in an image: it would need Deno and the bundle beside it.
RUN deno task build --require-compile

FROM debian:bookworm-20250520-slim
# BIRD is started by "flock bird-run" only; a package's service never starts in an image's build.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends bird2 iproute2 nftables util-linux \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/dist/flock /usr/local/bin/flock
ENTRYPOINT ["/usr/local/bin/flock"]
