// The server of Bun, which is uWebSockets: an echo, and a room under /ws/.
// `bun bun.js [off|shared|takeover]`: whether messages are compressed, and with whose contexts.

const compression = process.argv[2] ?? "off";
const compressed = compression !== "off";
const contexts = { off: false, shared: { compress: "shared", decompress: "shared" }, takeover: { compress: "dedicated", decompress: "dedicated" } };

const upgrade = (data) => (request, server) =>
  server.upgrade(request, { data }) ? undefined : new Response("no", { status: 400 });

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  // Data says whether it is a room.
  routes: { "/echo": upgrade(false), "/ws/*": upgrade(true) },
  websocket: {
    perMessageDeflate: contexts[compression],
    publishToSelf: true,
    maxPayloadLength: 1 << 20,
    // What 64 messages in flight for a slow reader may take.
    backpressureLimit: 1 << 24,
    open(socket) {
      if (socket.data) socket.subscribe("room");
    },
    message(socket, message) {
      if (socket.data) socket.publish("room", message, compressed);
      else socket.send(message, compressed);
    },
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
