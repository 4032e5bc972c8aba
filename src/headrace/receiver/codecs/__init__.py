"""Bytes to values and back, for all fronts; nothing of models, queues or sockets.

``json_tensor`` JSON lists and tensors · ``tensors`` raw bytes and tensors · ``typed`` gRPC's
typed contents and tensors · ``protobuf`` the messages of both gRPC protocols · ``wire`` their
fields, by hand where it counts · ``frames`` gRPC's messages on a stream · ``compression`` of
bodies · ``limits`` of what comes · ``decoded`` what stands in a parsed body for its tensors.
"""
