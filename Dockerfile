# Two stages: the Go toolchain builds one static binary, the image holds that,
# the certificates and nothing else.
FROM golang:1.26 AS build
ARG VERSION=dev COMMIT= TARGETARCH=amd64
WORKDIR /src
COPY go.mod go.sum ./
COPY agent/store/flux/go.mod agent/store/flux/
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -tags grpcnotrace \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /causeway ./agent/cmd/causeway

FROM gcr.io/distroless/static-debian12
ARG VERSION=dev COMMIT=
LABEL org.opencontainers.image.title="Causeway" \
      org.opencontainers.image.description="Node agent: metrics, logs and events, safe on disk, to every destination" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /causeway /causeway
COPY agent.yaml /etc/causeway/agent.yaml
# Container logs belong to root; where only metrics are wanted, run as 65532.
ENTRYPOINT ["/causeway"]
CMD ["run", "-c", "/etc/causeway/agent.yaml"]
