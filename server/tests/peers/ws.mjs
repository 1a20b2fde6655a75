// Talks to the server with npm's ws: echoes of all sizes, a close, and a room.
// Arguments: the folder of node_modules, the echo URL. Prints one line for each thing done.

import { createRequire } from "node:module";

const [folder, url] = process.argv.slice(2);
const WebSocket = createRequire(`${folder}/`)("ws");
const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20];

const open = () =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });

const heard = (socket) =>
  new Promise((resolve, reject) => {
    const closed = (code) => reject(new Error(`closed with ${code}`));
    socket.once("close", closed);
    socket.once("message", (data, isBinary) => {
      socket.off("close", closed);
      resolve({ data, isBinary });
    });
  });

const echo = async (socket, data, isBinary) => {
  const answer = heard(socket);
  socket.send(data, { binary: isBinary });
  const { data: echoed, isBinary: echoedBinary } = await answer;
  if (echoedBinary !== isBinary || Buffer.compare(echoed, data) !== 0) {
    throw new Error(`${data.length} bytes came back as ${echoed.length}`);
  }
};

const socket = await open();
console.log(`opened with extensions '${socket.extensions}'`);
for (const size of sizes) {
  await echo(socket, Buffer.alloc(size, "greetings "), false);
  await echo(socket, Buffer.alloc(size, Buffer.from([0, 255, 128, 7])), true);
  console.log(`echoed ${size}`);
}

const ponged = new Promise((resolve) => socket.once("pong", resolve));
socket.ping("ping");
console.log(`ponged ${await ponged}`);

// One message in three fragments.
const answer = heard(socket);
socket.send("one ", { fin: false });
socket.send("two ", { fin: false });
socket.send("three", { fin: true });
console.log(`joined ${(await answer).data}`);

const closed = new Promise((resolve) => socket.once("close", (code) => resolve(code)));
socket.close(1000, "done");
console.log(`closed ${await closed}`);
