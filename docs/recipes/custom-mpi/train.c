/* Trains a linear classifier on scikit-learn's handwritten digits with MPI.
 *
 *     train DIGITS.CSV [ACCURACY]
 *
 * A line of the file is 64 pixels from 0 to 16 and the digit. Fails below the accuracy. */

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 64, DIGITS = 10, WIDTH = PIXELS + 1, IMAGES_MAX = 2000, STEPS = 1500 };

static double images[IMAGES_MAX][WIDTH];
static int labels[IMAGES_MAX];

static int read_images(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int count = 0;
    double value;
    while (count < IMAGES_MAX && fscanf(file, "%lf", &value) == 1) {
        for (int pixel = 0; pixel < PIXELS; pixel++) {
            images[count][pixel] = value / 16;
            if (fscanf(file, ",%lf", &value) != 1) {
                fprintf(stderr, "%s: image %d has too few values\n", path, count + 1);
                MPI_Abort(MPI_COMM_WORLD, 2);
            }
        }
        images[count][PIXELS] = 1;
        labels[count++] = (int)value;
    }
    fclose(file);
    return count;
}

/* What the classifier says of an image: a probability for each digit. */
static void classify(double weights[DIGITS][WIDTH], const double *image, double *out) {
    double highest = -INFINITY, sum = 0;
    for (int digit = 0; digit < DIGITS; digit++) {
        out[digit] = 0;
        for (int pixel = 0; pixel < WIDTH; pixel++)
            out[digit] += weights[digit][pixel] * image[pixel];
        highest = fmax(highest, out[digit]);
    }
    for (int digit = 0; digit < DIGITS; digit++)
        sum += out[digit] = exp(out[digit] - highest);
    for (int digit = 0; digit < DIGITS; digit++)
        out[digit] /= sum;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, size, length;
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_library_version(version, &length);
    version[strcspn(version, ",\n")] = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: train DIGITS.CSV [ACCURACY]\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    double wanted = argc > 2 ? atof(argv[2]) : 0.95;
    int count = read_images(argv[1]);

    /* Every fourth image is held back; of the rest every rank has its own share. */
    static int own[IMAGES_MAX], test[IMAGES_MAX];
    int owned = 0, tests = 0, others = 0;
    for (int at = 0; at < count; at++) {
        if (at % 4 == 3)
            test[tests++] = at;
        else if (others++ % size == rank)
            own[owned++] = at;
    }
    const char *node = getenv("AZ_BATCH_NODE_ID");
    printf("rank %d of %d on %s: %d images, %s\n", rank, size, node ? node : "?", owned, version);
    fflush(stdout);

    static double weights[DIGITS][WIDTH], gradient[DIGITS][WIDTH];
    double guess[DIGITS];
    for (int step = 0; step < STEPS; step++) {
        memset(gradient, 0, sizeof gradient);
        for (int at = 0; at < owned; at++) {
            classify(weights, images[own[at]], guess);
            guess[labels[own[at]]] -= 1;
            for (int digit = 0; digit < DIGITS; digit++)
                for (int pixel = 0; pixel < WIDTH; pixel++)
                    gradient[digit][pixel] += guess[digit] * images[own[at]][pixel];
        }
        /* The sum over the images of all ranks. */
        MPI_Allreduce(MPI_IN_PLACE, gradient, DIGITS * WIDTH, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        for (int digit = 0; digit < DIGITS; digit++)
            for (int pixel = 0; pixel < WIDTH; pixel++)
                weights[digit][pixel] -= 0.5 * gradient[digit][pixel] / others;
    }

    int right = 0;
    for (int at = 0; at < tests; at++) {
        classify(weights, images[test[at]], guess);
        int best = 0;
        for (int digit = 1; digit < DIGITS; digit++)
            if (guess[digit] > guess[best])
                best = digit;
        right += best == labels[test[at]];
    }
    double accuracy = (double)right / tests;
    if (rank == 0)
        printf("accuracy %.4f with %d ranks\n", accuracy, size);
    MPI_Finalize();
    return accuracy < wanted;
}
