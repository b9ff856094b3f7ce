// Command grpc is a gRPC server, or a client that calls it and checks each answer:
//
//	grpc server ADDR [CERT KEY]      prints the address that it listens on
//	grpc client ADDR HOST            prints "ok", or what went wrong
//	grpc client ADDR CA HOST         the same over TLS
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	patience = 60 * time.Second
	large    = 3 << 20
	rounds   = 50
)

type server struct {
	testgrpc.UnimplementedTestServiceServer
}

func (server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if wanted := in.GetResponseStatus(); wanted != nil {
		return nil, status.Error(codes.Code(wanted.GetCode()), wanted.GetMessage())
	}
	if asked, ok := metadata.FromIncomingContext(ctx); ok {
		grpc.SetTrailer(ctx, metadata.Pairs("x-told-at-the-end", fmt.Sprint(asked.Get("x-asked"))))
	}
	return &testpb.SimpleResponse{Payload: &testpb.Payload{Body: make([]byte, in.GetResponseSize())}}, nil
}

func (server) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if wanted := in.GetResponseStatus(); wanted != nil {
			return status.Error(codes.Code(wanted.GetCode()), wanted.GetMessage())
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

func serve(arguments []string) error {
	var options []grpc.ServerOption
	if len(arguments) == 3 {
		secure, err := credentials.NewServerTLSFromFile(arguments[1], arguments[2])
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(secure))
	}
	listener, err := net.Listen("tcp", arguments[0])
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	serving := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(serving, server{})
	return serving.Serve(listener)
}

func call(arguments []string) error {
	// passthrough: the address is one, not a name to look up.
	target, option := "passthrough:///"+arguments[0], grpc.WithTransportCredentials(insecure.NewCredentials())
	options := []grpc.DialOption{option}
	if len(arguments) == 3 {
		secure, err := credentials.NewClientTLSFromFile(arguments[1], arguments[2])
		if err != nil {
			return err
		}
		options[0] = grpc.WithTransportCredentials(secure)
	} else {
		options = append(options, grpc.WithAuthority(arguments[1]))
	}
	connection, err := grpc.NewClient(target, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := testgrpc.NewTestServiceClient(connection)
	for _, check := range []func(context.Context, testgrpc.TestServiceClient) error{unary, failing, duplex, failingInTheMiddle, cancelled, deadline} {
		if err := check(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

func unary(ctx context.Context, client testgrpc.TestServiceClient) error {
	var trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, "x-asked", "this")
	in := &testpb.SimpleRequest{ResponseSize: large, Payload: &testpb.Payload{Body: make([]byte, large)}}
	out, err := client.UnaryCall(ctx, in, grpc.Trailer(&trailer))
	if err != nil {
		return fmt.Errorf("a unary call: %w", err)
	}
	if got := len(out.GetPayload().GetBody()); got != large {
		return fmt.Errorf("a unary call: %d bytes came back", got)
	}
	if got := trailer.Get("x-told-at-the-end"); len(got) != 1 || got[0] != "[this]" {
		return fmt.Errorf("a unary call: its trailer is %q", got)
	}
	return nil
}

func failing(ctx context.Context, client testgrpc.TestServiceClient) error {
	_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "not so, ☃"}})
	if got := status.Convert(err); got.Code() != codes.FailedPrecondition || got.Message() != "not so, ☃" {
		return fmt.Errorf("a call that fails: %v", err)
	}
	_, err = client.UnimplementedCall(ctx, &testpb.Empty{})
	if status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("a call that nobody implements: %v", err)
	}
	return nil
}

// Each message is sent only when the one before has come back: nothing on the way may wait for more.
func duplex(ctx context.Context, client testgrpc.TestServiceClient) error {
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return fmt.Errorf("a stream: %w", err)
	}
	for round := range rounds {
		body := make([]byte, 1+round*1000)
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}}); err != nil {
			return fmt.Errorf("a stream, message %d: %w", round, err)
		}
		out, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("a stream, answer %d: %w", round, err)
		}
		if len(out.GetPayload().GetBody()) != len(body) {
			return fmt.Errorf("a stream, answer %d is not what was sent", round)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("a stream that should have ended: %v", err)
	}
	return nil
}

func failingInTheMiddle(ctx context.Context, client testgrpc.TestServiceClient) error {
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return fmt.Errorf("a stream that fails: %w", err)
	}
	wanted := &testpb.StreamingOutputCallRequest{ResponseStatus: &testpb.EchoStatus{Code: 8, Message: "enough"}}
	if err := stream.Send(wanted); err != nil {
		return fmt.Errorf("a stream that fails: %w", err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("a stream that fails: %v", err)
	}
	return nil
}

func cancelled(ctx context.Context, client testgrpc.TestServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("a stream that is cancelled: %w", err)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		return fmt.Errorf("a stream that is cancelled: %v", err)
	}
	return nil
}

// The server waits for a message that never comes.
func deadline(ctx context.Context, client testgrpc.TestServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("a stream with a deadline: %v", err)
	}
	return nil
}

func main() {
	err := errors.New("grpc server ADDR [CERT KEY], or grpc client ADDR HOST, or grpc client ADDR CA HOST")
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "server", len(arguments) == 4 && arguments[0] == "server":
		err = serve(arguments[1:])
	case len(arguments) == 3 && arguments[0] == "client", len(arguments) == 4 && arguments[0] == "client":
		err = call(arguments[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
