// Opens connections with npm's ws: tokens in a header, a cookie, the URL and the subprotocol, and as the first message.
//
// Arguments: the folder of modules, the WebSocket URL without its path. Reads lines "HOW PATH TOKEN" from stdin and
// answers each with one line.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, base] = process.argv.slice(2);
const WebSocket = createRequire(`${modules}/`)("ws");

function open(how, path, token) {
  switch (how) {
    case "header":
      return new WebSocket(base + path, { headers: { Authorization: `Bearer ${token}` } });
    case "cookie":
      return new WebSocket(base + path, { headers: { Cookie: `session=${token}` } });
    case "query":
      return new WebSocket(`${base}${path}?token=${token}`);
    case "subprotocol":
      return new WebSocket(base + path, ["tidegate", `bearer.${token}`]);
    default:
      return new WebSocket(base + path);
  }
}

function talk(how, path, token) {
  return new Promise((resolve) => {
    const socket = open(how, path, token);
    const heard = [];
    socket.on("open", () => socket.send(how === "message" ? JSON.stringify({ auth: token }) : "hello"));
    socket.on("message", (data) => {
      const text = data.toString();
      if (how === "message" && heard.length === 0) {
        heard.push(JSON.parse(text).auth);
        socket.send("hello");
        return;
      }
      heard.push(text);
      socket.close(1000);
    });
    socket.on("unexpected-response", (_request, response) => {
      resolve(`refused ${response.statusCode}`);
      socket.terminate();
    });
    socket.on("close", (code, reason) => resolve(`${socket.protocol || "-"} ${heard.join(" ")} ${code} ${reason}`.trim()));
    socket.on("error", () => {});
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const [how, path, token] = line.split(" ");
  console.log(await talk(how, path, token));
}
