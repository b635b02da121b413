"""Host and runners, all real but for time, threads, sockets and processes, under every misfortune."""
