"""An Azure ML workspace on 127.0.0.1: speaks Azure's HTTP to the unmodified SDK and runs what is submitted.

Shares nothing with the client side but `runner.processes`: a mistake made on both sides would cancel out.
"""
