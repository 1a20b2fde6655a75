// The server of npm ws: an echo, and a room under /ws/.
// `node ws.js [off|shared|takeover]`: whether messages are compressed, and whether contexts are kept.

const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const compression = process.argv[2] ?? "off";
const keeps = compression === "takeover";
const perMessageDeflate = compression !== "off" && {
  serverNoContextTakeover: !keeps,
  clientNoContextTakeover: !keeps,
  zlibDeflateOptions: { level: 1 },
  // It would not compress messages shorter than 1,024 bytes.
  threshold: 0,
};
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate, maxPayload: 1 << 20 });
const room = new Set();

server.on("connection", (socket, request) => {
  socket.on("error", () => {});
  if (!request.url.startsWith("/ws/")) {
    socket.on("message", (message, binary) => socket.send(message, { binary }));
    return;
  }
  room.add(socket);
  socket.on("close", () => room.delete(socket));
  socket.on("message", (message, binary) => {
    for (const member of room) member.send(message, { binary });
  });
});
http.listen(0, "127.0.0.1", 4096, () => console.log(`listening on 127.0.0.1:${http.address().port}`));
