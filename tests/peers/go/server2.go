// The article's second program: the goroutine of a client puts each name on a channel as a ClientJob, and one other goroutine
// answers them all. What it calls something very expensive is left out.
package main

import (
	"bufio"
	"fmt"
	"net"
)

// ClientJob is a name that was read, and the connection that it came from.
type ClientJob struct {
	name string
	conn net.Conn
}

func main() {
	clientJobs := make(chan ClientJob)
	go generateResponses(clientJobs)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn, clientJobs)
	}
}

func serve(conn net.Conn, clientJobs chan ClientJob) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		name, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		clientJobs <- ClientJob{name, conn}
	}
}

func generateResponses(clientJobs chan ClientJob) {
	for {
		clientJob := <-clientJobs
		clientJob.conn.Write([]byte("Hello, " + clientJob.name))
	}
}
