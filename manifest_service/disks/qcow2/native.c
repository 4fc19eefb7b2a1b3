/* Inflates a batch of compressed clusters in one call, with the interpreter's lock released.
 *
 * A thread that runs Python asks for that lock after each cluster. With small clusters, two such threads are slower than
 * one; here a thread asks for it once a batch (docs/decisions/inflating.md).
 *
 * Only the usual is done here. At the first cluster that is anything else the batch stops, and says which one it is:
 * deflate.py or zstd.py inflates that one, or finds what is wrong with it. What is taken here must be what they take.
 *
 * zlib-ng and libzstd are those inside of Python packages that are needed anyway. Their functions are handed over as
 * addresses (batches.py), so that no header of theirs is needed to build this.
 */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* `zng_stream` of zlib-ng.h. zng_inflateInit2_ refuses a stream of another size than its own. */
struct stream {
    const uint8_t *next_in;
    uint32_t avail_in;
    size_t total_in;
    uint8_t *next_out;
    uint32_t avail_out;
    size_t total_out;
    const char *msg;
    void *state, *zalloc, *zfree, *opaque;
    int data_type;
    uint32_t adler;
    unsigned long reserved;
};

/* Both in the order in which batches.py names them. */
struct zlib {
    const char *(*version)(void);
    int32_t (*init)(struct stream *, int32_t window_bits, const char *version, int32_t stream_size);
    int32_t (*reset)(struct stream *);
    int32_t (*inflate)(struct stream *, int32_t flush);
    int32_t (*end)(struct stream *);
};

struct zstd {
    void *(*create)(void);
    size_t (*free)(void *context);
    unsigned long long (*content_size)(const void *data, size_t size);
    size_t (*frame_size)(const void *data, size_t size);
    size_t (*decompress)(void *context, void *output, size_t room, const void *data, size_t size);
    unsigned (*is_error)(size_t outcome);
};

/* -15: raw deflate. The others are Z_FINISH, Z_STREAM_END and Z_BUF_ERROR of zlib.h. */
enum { WINDOW_BITS = -15, FINISH = 4, STREAM_END = 1, NO_OUTPUT_LEFT = -5 };

static const uint8_t ZSTD_MAGIC[4] = {0x28, 0xB5, 0x2F, 0xFD};

/* What inflation.ClusterBatch is: each column has a word for each cluster, of 64 bits for its place and else of 32.
 *
 *      data    [ start ... place |<------- size ------->| ............ ]   the last `padding` bytes are not in the file
 *      output  [ ........................ position |<- cluster_size ->| ]
 */
enum { PLACES, SIZES, PADDINGS, POSITIONS, COLUMNS };

struct batch {
    Py_buffer functions, data, output, columns[COLUMNS];
    unsigned long long start;
    Py_ssize_t cluster_size, count, index; /* index: of the cluster that is at work, or that stopped the batch */
    bool strayed;                          /* that cluster does not lie within its buffers */
};

struct cluster {
    const uint8_t *data;
    uint8_t *output;
    uint32_t size, padding;
};

static Py_ssize_t width(int column)
{
    return column == PLACES ? sizeof(uint64_t) : sizeof(uint32_t);
}

static void read_word(const struct batch *batch, int column, void *value)
{
    Py_ssize_t size = width(column); /* By memcpy, since nobody promises that the words are aligned. */
    memcpy(value, (const char *)batch->columns[column].buf + batch->index * size, (size_t)size);
}

/* Take up the cluster at batch->index; false where there is none, or it strays. */
static bool take(struct batch *batch, struct cluster *cluster)
{
    if (batch->index >= batch->count)
        return false;
    uint64_t place, inside;
    uint32_t position;
    read_word(batch, PLACES, &place);
    read_word(batch, SIZES, &cluster->size);
    read_word(batch, PADDINGS, &cluster->padding);
    read_word(batch, POSITIONS, &position);
    inside = place - batch->start;
    /* Compared so that nothing overflows, whatever the place is. */
    batch->strayed = place < batch->start || inside > (uint64_t)batch->data.len
                     || cluster->size > (uint64_t)batch->data.len - inside || cluster->padding > cluster->size
                     || position + (uint64_t)batch->cluster_size > (uint64_t)batch->output.len;
    if (batch->strayed)
        return false;
    cluster->data = (const uint8_t *)batch->data.buf + inside;
    cluster->output = (uint8_t *)batch->output.buf + position;
    return true;
}

/* As qemu calls zlib: one call a cluster. Output that would go on is fine; a stream that needs the padding is not. */
static void inflate_all(const struct zlib *zlib, struct batch *batch)
{
    struct stream stream = {0};
    struct cluster cluster;
    if (zlib->init(&stream, WINDOW_BITS, zlib->version(), (int32_t)sizeof stream) != 0)
        return;
    for (; take(batch, &cluster); batch->index++) {
        if (zlib->reset(&stream) != 0)
            break;
        stream.next_in = cluster.data;
        stream.avail_in = cluster.size;
        stream.next_out = cluster.output;
        stream.avail_out = (uint32_t)batch->cluster_size;
        int32_t outcome = zlib->inflate(&stream, FINISH);
        if ((outcome != STREAM_END && outcome != NO_OUTPUT_LEFT) || stream.avail_out
            || stream.avail_in < cluster.padding)
            break;
    }
    zlib->end(&stream);
}

/* One whole frame that says it is the cluster, as qemu-img writes them; frames of any other kind stop the batch. */
static void decompress_all(const struct zstd *zstd, struct batch *batch)
{
    size_t cluster_size = (size_t)batch->cluster_size;
    struct cluster cluster;
    void *context = zstd->create();
    if (!context)
        return;
    for (; take(batch, &cluster); batch->index++) {
        size_t present = cluster.size - cluster.padding;
        /* Looked at here: libzstd may know older formats too. */
        if (present < sizeof ZSTD_MAGIC || memcmp(cluster.data, ZSTD_MAGIC, sizeof ZSTD_MAGIC) != 0
            || zstd->content_size(cluster.data, present) != cluster_size)
            break;
        size_t frame = zstd->frame_size(cluster.data, present);
        if (zstd->is_error(frame) || frame > present)
            break;
        if (zstd->decompress(context, cluster.output, cluster_size, cluster.data, frame) != cluster_size)
            break;
    }
    zstd->free(context);
}

/* Whether numbers and lengths fit together. Sets an exception where they do not. */
static bool check(struct batch *batch, size_t size_of_functions)
{
    batch->count = batch->columns[SIZES].len / width(SIZES);
    bool fits = batch->functions.len == (Py_ssize_t)size_of_functions && batch->cluster_size > 0
                && batch->cluster_size <= INT32_MAX && batch->index >= 0 && batch->index <= batch->count;
    for (int column = 0; column < COLUMNS; column++)
        fits = fits && batch->columns[column].len == batch->count * width(column);
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "the arguments of a batch do not fit together");
    return fits;
}

static PyObject *run(PyObject *args, bool is_zlib)
{
    struct batch batch = {0};
    Py_buffer *columns = batch.columns;
    if (!PyArg_ParseTuple(args, "y*y*w*ny*y*y*y*Kn", &batch.functions, &batch.data, &batch.output, &batch.cluster_size,
                          &columns[PLACES], &columns[SIZES], &columns[PADDINGS], &columns[POSITIONS], &batch.start,
                          &batch.index))
        return NULL; /* It has let go of the buffers that it had taken. */
    union {
        struct zlib zlib;
        struct zstd zstd;
    } functions;
    size_t size = is_zlib ? sizeof functions.zlib : sizeof functions.zstd;
    PyObject *result = NULL;
    if (check(&batch, size)) {
        memcpy(&functions, batch.functions.buf, size);
        Py_BEGIN_ALLOW_THREADS
        if (is_zlib)
            inflate_all(&functions.zlib, &batch);
        else
            decompress_all(&functions.zstd, &batch);
        Py_END_ALLOW_THREADS
        if (batch.strayed)
            PyErr_SetString(PyExc_IndexError, "a cluster is said to lie outside of its buffers");
        else
            result = PyLong_FromSsize_t(batch.index);
    }
    PyBuffer_Release(&batch.functions);
    PyBuffer_Release(&batch.data);
    PyBuffer_Release(&batch.output);
    for (int column = 0; column < COLUMNS; column++)
        PyBuffer_Release(&columns[column]);
    return result;
}

static PyObject *inflate(PyObject *Py_UNUSED(module), PyObject *args)
{
    return run(args, true);
}

static PyObject *decompress(PyObject *Py_UNUSED(module), PyObject *args)
{
    return run(args, false);
}

static PyMethodDef METHODS[] = {
    {"inflate", inflate, METH_VARARGS, NULL},
    {"decompress", decompress, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "native",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit_native(void)
{
    return PyModuleDef_Init(&MODULE);
}
