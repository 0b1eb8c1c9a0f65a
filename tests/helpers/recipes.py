"""Recipes: losses that people differentiate by hand, as they are written with derive.matrix, each beside torch's own.

`code` is what the page shows; it defines `loss` and `variables`. `torch` is an independent value of the same loss.
"""

from dataclasses import dataclass, field

HEAD = """\
from sympy import HadamardPower, HadamardProduct, Matrix, MatrixSymbol, Max, OneMatrix, Rational, Symbol, Trace
from sympy import log, sqrt, symbols, tanh

from derive import derivation
from derive.matrix import apply, column_sum, logsumexp, relu, row_sum, sigmoid, softmax, total

N, D, H, C = symbols("N D H C", integer=True, positive=True)
X, W, b, Y = (MatrixSymbol(*a) for a in (("X", N, D), ("W", D, C), ("b", 1, C), ("Y", N, C)))
W1, b1, W2, b2 = (MatrixSymbol(*a) for a in (("W1", D, H), ("b1", 1, H), ("W2", H, C), ("b2", 1, C)))
ones, reg = OneMatrix(N, 1), Symbol("reg", positive=True)  # ones * b adds a row to every row
"""
TAIL = "d = derivation(loss, variables)  # d.gradients, d.torch(), d.save(folder), d.diagnose(your_function)"
SIZES = {"N": 5, "D": 4, "H": 3, "C": 3, "V": 6, "T": 4, "d": 3}


@dataclass(frozen=True)
class Recipe:
    """A title, what to know, the code of the page, torch's value of it; inputs that are no plain numbers, by kind."""

    title: str
    words: str
    code: str
    torch: str
    kinds: dict[str, str] = field(default_factory=dict)


RECIPES = [
    Recipe(
        "A softmax classifier with weight decay",
        "Y has a row of zeros and a one for each class; rows of probabilities will do.",
        """\
S = X * W + ones * b
loss = (total(logsumexp(S)) - total(HadamardProduct(Y, S))) / N + reg * total(HadamardPower(W, 2))
variables = [W, b]""",
        "F.cross_entropy(X @ W + b, Y) + reg * (W**2).sum()",
        {"Y": "one-hot"},
    ),
    Recipe(
        "A multiclass hinge loss",
        "Each score is compared with that of the right class, which Y picks out of its row; the margin is 1.",
        """\
S = X * W
of_the_class = row_sum(HadamardProduct(Y, S)) * OneMatrix(1, C)
loss = total(relu(S - of_the_class + OneMatrix(N, C) - Y)) / N + reg * total(HadamardPower(W, 2))
variables = [W]""",
        "F.multi_margin_loss(X @ W, Y.argmax(1), reduction='sum') * Y.shape[1] / len(X) + reg * (W**2).sum()",
        {"Y": "one-hot"},
    ),
    Recipe(
        "Two layers, softmax and weight decay",
        "As in CS231n's first assignment: weights in x out, biases free of the penalty.",
        """\
S = relu(X * W1 + ones * b1) * W2 + ones * b2
decay = total(HadamardPower(W1, 2)) + total(HadamardPower(W2, 2))
loss = (total(logsumexp(S)) - total(HadamardProduct(Y, S))) / N + reg * decay
variables = [W1, b1, W2, b2]""",
        "F.cross_entropy(torch.relu(X @ W1 + b1) @ W2 + b2, Y) + reg * ((W1**2).sum() + (W2**2).sum())",
        {"Y": "one-hot"},
    ),
    Recipe(
        "Points as columns",
        "Andrew Ng's logistic regression: X is features by points, and the loss is written as it stands on the slide.",
        """\
X, w, y, b = (MatrixSymbol(*a) for a in (("X", D, N), ("w", D, 1), ("y", 1, N), ("b", 1, 1)))
Z = w.T * X + b * OneMatrix(1, N)
loss = total(apply(lambda z, y: -y * log(sigmoid(z)) - (1 - y) * log(1 - sigmoid(z)), Z, y)) / N
variables = [w, b]""",
        "F.binary_cross_entropy_with_logits(w.T @ X + b, y)",
        {"y": "probability"},
    ),
    Recipe(
        "Dropout with a mask that is given",
        "M has 0 for what is dropped and 1/keep for the rest: inverted dropout, differentiated as any constant.",
        """\
M = MatrixSymbol("M", N, H)
A = HadamardProduct(M, relu(X * W1 + ones * b1))
loss = total(HadamardPower(A * W2 + ones * b2 - Y, 2)) / N
variables = [W1, b1, W2, b2]""",
        "(((torch.relu(X @ W1 + b1) * M) @ W2 + b2 - Y) ** 2).sum() / len(X)",
    ),
    Recipe(
        "Batch normalisation",
        "Mean and variance of each column of the batch, the variance divided by N; gamma and beta are rows.",
        """\
G, gamma, beta = (MatrixSymbol(*a) for a in (("G", N, D), ("gamma", 1, D), ("beta", 1, D)))
centred = X - ones * column_sum(X) / N
variance = column_sum(HadamardPower(centred, 2)) / N
normed = apply(lambda c, v: c / sqrt(v + Rational(1, 10**5)), centred, ones * variance)
loss = Trace(G.T * (HadamardProduct(ones * gamma, normed) + ones * beta))  # G comes back from above
variables = [X, gamma, beta]""",
        "(G * F.batch_norm(X, None, None, gamma[0], beta[0], True, 0.1, 1e-5)).sum()",
    ),
    Recipe(
        "Layer normalisation",
        "The same along each row.",
        """\
G, gamma, beta = (MatrixSymbol(*a) for a in (("G", N, D), ("gamma", 1, D), ("beta", 1, D)))
across = OneMatrix(1, D)
centred = X - row_sum(X) * across / D
variance = row_sum(HadamardPower(centred, 2)) / D
normed = apply(lambda c, v: c / sqrt(v + Rational(1, 10**5)), centred, variance * across)
loss = Trace(G.T * (HadamardProduct(ones * gamma, normed) + ones * beta))
variables = [X, gamma, beta]""",
        "(G * F.layer_norm(X, X.shape[1:], gamma[0], beta[0], 1e-5)).sum()",
    ),
    Recipe(
        "An embedding",
        "T has a row of zeros and a one for each token: T * E takes rows of the table E.",
        """\
V = Symbol("V", integer=True, positive=True)
T, E = MatrixSymbol("T", N, V), MatrixSymbol("E", V, D)
S = T * E * W + ones * b
loss = (total(logsumexp(S)) - total(HadamardProduct(Y, S))) / N
variables = [E, W, b]""",
        "F.cross_entropy(F.embedding(T.argmax(1), E) @ W + b, Y)",
        {"Y": "one-hot", "T": "one-hot"},
    ),
    Recipe(
        "A recurrent network, three steps",
        "Written out step by step, with the same weights in each: what comes back to them is added.",
        """\
X1, X2, X3 = (MatrixSymbol(f"X{t}", N, D) for t in (1, 2, 3))
A, U, c = MatrixSymbol("A", N, H), MatrixSymbol("U", H, H), MatrixSymbol("c", 1, H)
h = A
for Xt in (X1, X2, X3):
    h = (Xt * W1 + h * U + ones * c).applyfunc(tanh)
loss = total(HadamardPower(h * W2 - Y, 2))
variables = [W1, U, c, W2, A]""",
        "((rnn((X1, X2, X3), A, W1, U, c) @ W2 - Y) ** 2).sum()",
    ),
    Recipe(
        "An LSTM, two steps",
        "One product for the four gates, cut into columns; i, f, g, o in torch's order.",
        """\
X1, X2 = MatrixSymbol("X1", N, 2), MatrixSymbol("X2", N, 2)
A, c, U, V = (MatrixSymbol(*a) for a in (("A", N, 2), ("c", N, 2), ("U", 2, 8), ("V", 2, 8)))
h = A
for Xt in (X1, X2):
    gates = Xt * U + h * V
    i, f, o = (sigmoid(gates[:, k : k + 2]) for k in (0, 2, 6))
    g = gates[:, 4:6].applyfunc(tanh)
    c = HadamardProduct(f, c) + HadamardProduct(i, g)
    h = HadamardProduct(o, c.applyfunc(tanh))
loss = total(HadamardPower(h, 2))
variables = [U, V, A]""",
        "lstm(X1, X2, A, c, U, V)",
    ),
    Recipe(
        "Attention",
        "One head; softmax is along each row. M, added to the scores, may hide tokens with large negative numbers.",
        """\
T, d = symbols("T d", integer=True, positive=True)
Q, K, M = MatrixSymbol("Q", T, d), MatrixSymbol("K", T, d), MatrixSymbol("M", T, T)
V, G = MatrixSymbol("V", T, d), MatrixSymbol("G", T, d)
loss = Trace(G.T * softmax(Q * K.T / sqrt(d) + M) * V)
variables = [Q, K, V]""",
        "(G * F.scaled_dot_product_attention(Q[None], K[None], V[None], M)[0]).sum()",
    ),
    Recipe(
        "A convolution in one dimension",
        "Three shifted slices, each times a number of the kernel w.",
        """\
X, w, G = MatrixSymbol("X", N, 6), MatrixSymbol("w", 1, 3), MatrixSymbol("G", N, 4)
loss = Trace(G.T * sum((w[0, k] * X[:, k : k + 4] for k in (1, 2)), w[0, 0] * X[:, :4]))
variables = [X, w]""",
        "(G * F.conv1d(X[:, None], w[None])[:, 0]).sum()",
    ),
    Recipe(
        "A convolution in two dimensions, relu and average pooling",
        "A slice of the image for each number of the kernel K; P adds neighbours: rows from the left, columns from the "
        "right.",
        """\
X, K, G = MatrixSymbol("X", 5, 5), MatrixSymbol("K", 2, 2), MatrixSymbol("G", 2, 2)
parts = [K[i, j] * X[i : i + 4, j : j + 4] for i in (0, 1) for j in (0, 1)]
P = Matrix([[1, 1, 0, 0], [0, 0, 1, 1]])
loss = Trace(G.T * P * relu(sum(parts[1:], parts[0])) * P.T) / 4
variables = [X, K]""",
        "(G * F.avg_pool2d(torch.relu(F.conv2d(X[None, None], K[None, None])), 2)[0, 0]).sum()",
    ),
    Recipe(
        "Max pooling",
        "The largest of four selections of rows and columns; where two are equal the derivative is SymPy's for Max.",
        """\
X, G = MatrixSymbol("X", 4, 4), MatrixSymbol("G", 2, 2)
P, Q = Matrix([[1, 0, 0, 0], [0, 0, 1, 0]]), Matrix([[0, 1, 0, 0], [0, 0, 0, 1]])
loss = Trace(G.T * apply(Max, P * X * P.T, P * X * Q.T, Q * X * P.T, Q * X * Q.T))
variables = [X]""",
        "(G * F.max_pool2d(X[None], 2)[0]).sum()",
    ),
    Recipe(
        "Two heads with two losses",
        "The first two columns are fitted to numbers, the other three are scores of classes.",
        """\
W, Y, R = MatrixSymbol("W", D, 5), MatrixSymbol("Y", N, 3), MatrixSymbol("R", N, 2)
Z = X * W
S = Z[:, 2:5]
loss = total(HadamardPower(Z[:, 0:2] - R, 2)) + total(logsumexp(S)) - total(HadamardProduct(Y, S))
variables = [W, X]""",
        "F.mse_loss((X @ W)[:, :2], R, reduction='sum') + F.cross_entropy((X @ W)[:, 2:], Y, reduction='sum')",
        {"Y": "one-hot"},
    ),
    Recipe(
        "An upstream gradient",
        "Of a layer alone: the loss <G, F> has the gradients that the layer sends back when G comes in. "
        "derive.pullback(F, variables) is the same, with a function of autograd.",
        """\
G = MatrixSymbol("G", N, H)
F = (X * W1 + ones * b1).applyfunc(tanh)
loss = Trace(G.T * F)
variables = [X, W1, b1]""",
        "(G * torch.tanh(X @ W1 + b1)).sum()",
    ),
    Recipe(
        "Class weights",
        "v has a weight for each class; as in torch, the mean is over the weights of the rows.",
        """\
v = MatrixSymbol("v", C, 1)
S = X * W + ones * b
weighted = HadamardProduct(Y * v, logsumexp(S) - row_sum(HadamardProduct(Y, S)))
loss = total(weighted) / total(Y * v)
variables = [W, b]""",
        "F.cross_entropy(X @ W + b, Y.argmax(1), weight=v[:, 0])",
        {"Y": "one-hot", "v": "positive"},
    ),
    Recipe(
        "Label smoothing",
        "A tenth of each target is spread over all classes.",
        """\
S, smooth = X * W + ones * b, Rational(1, 10)
soft = (1 - smooth) * Y + smooth / C * OneMatrix(N, C)
loss = (total(logsumexp(S)) - total(HadamardProduct(soft, S))) / N
variables = [W, b]""",
        "F.cross_entropy(X @ W + b, Y, label_smoothing=0.1)",
        {"Y": "one-hot"},
    ),
    Recipe(
        "Tied weights and a residual connection",
        "An autoencoder that decodes with the transpose of what it encodes with, around a sum.",
        """\
encoded = sigmoid(X * W1 + ones * b1)
loss = total(HadamardPower(encoded * W1.T + X - X.applyfunc(tanh), 2)) / N
variables = [W1, b1]""",
        "((torch.sigmoid(X @ W1 + b1) @ W1.T + X - torch.tanh(X)) ** 2).sum() / len(X)",
    ),
    Recipe(
        "Negative sampling of word2vec",
        "v is the word in the middle, u the one beside it, the rows of K the words that were drawn against it.",
        """\
v, u, K = MatrixSymbol("v", D, 1), MatrixSymbol("u", D, 1), MatrixSymbol("K", C, D)
loss = -Trace(apply(lambda z: log(sigmoid(z)), u.T * v)) - total(apply(lambda z: log(sigmoid(-z)), K * v))
variables = [v, u, K]""",
        "-F.logsigmoid(u.T @ v).sum() - F.logsigmoid(-(K @ v)).sum()",
    ),
]
