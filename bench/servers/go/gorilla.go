// The server of gorilla/websocket: an echo, and a room under /ws/.
// An argument other than "off" has it compress; it never keeps contexts.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{
	CheckOrigin: func(*http.Request) bool { return true },
	// Buffers for writing are only held while something is written.
	WriteBufferPool: &sync.Pool{},
}

// How much may wait for one member.
const queueMax = 256

var room = struct {
	sync.Mutex
	queues map[chan *websocket.PreparedMessage]bool
}{queues: map[chan *websocket.PreparedMessage]bool{}}

func main() {
	upgrader.EnableCompression = len(os.Args) > 1 && os.Args[1] != "off"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(accept)))
}

func accept(response http.ResponseWriter, request *http.Request) {
	connection, err := upgrader.Upgrade(response, request, nil)
	if err != nil {
		return
	}
	// It has been taken from net/http, and the goroutine may go on with it.
	defer connection.Close()
	if strings.HasPrefix(request.URL.Path, "/ws/") {
		talk(connection)
	} else {
		echo(connection)
	}
}

func echo(connection *websocket.Conn) {
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil || connection.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func talk(connection *websocket.Conn) {
	queue := make(chan *websocket.PreparedMessage, queueMax)
	room.Lock()
	room.queues[queue] = true
	room.Unlock()
	defer func() {
		room.Lock()
		delete(room.queues, queue)
		room.Unlock()
		close(queue)
	}()
	go func() {
		for message := range queue {
			if connection.WritePreparedMessage(message) != nil {
				return
			}
		}
	}()
	for {
		kind, bytes, err := connection.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(kind, bytes)
		if err != nil {
			return
		}
		room.Lock()
		for queue := range room.queues {
			select {
			case queue <- message:
			default: // Whoever is so far behind loses it, and the load client will say so.
			}
		}
		room.Unlock()
	}
}
