package protocol

// CollectAll is the Text of a KindCollect to the worker that answers for all where one does.
const CollectAll = "all"
