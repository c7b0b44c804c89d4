//! Chinese in simplified characters. Names of policies and of HTTP, numbers and instants stay as they are.

use std::fmt;

use super::super::{
    faults::{Ambiguous, Malformed},
    problem::Kind,
    request::{ForwardError, HeadRefusal, Rejection},
    view::{Gauge, Message, ViewRefusal},
};
use crate::{
    domain::{
        condition::ConditionError, denial::Denial, id::MeterId, path::AmbiguousPath, period::Window,
        transitions::State, uncountable::Miscalculation,
    },
    ports::{CredentialError, ResolveError},
};

pub(super) const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::CredentialMissing => "缺少凭证",
        Kind::CredentialInvalid => "凭证无效",
        Kind::CredentialExpired => "凭证已过期",
        Kind::CredentialAmbiguous => "凭证不唯一",
        Kind::PathAmbiguous => "路径有歧义",
        Kind::RequestMalformed => "请求格式错误",
        Kind::HeadTooLarge => "请求头过大",
        Kind::MethodNotAllowed => "不支持该请求方法",
        Kind::TenantUnknown => "账户不存在",
        Kind::TenantSuspended => "账户已停用",
        Kind::SubscriptionInactive => "没有有效的订阅",
        Kind::RouteNotCovered => "未找到",
        Kind::ConditionFailed => "无法判断条件",
        Kind::FeatureNotInPlan => "套餐不包含此功能",
        Kind::RateLimited => "请求过于频繁",
        Kind::QuotaExhausted => "配额已用完",
        Kind::LedgerUnavailable => "无法记录用量",
        Kind::RightsUnavailable => "无法读取权限",
        Kind::Overloaded => "网关繁忙",
        Kind::UpstreamUnreachable => "无法连接上游服务",
        Kind::UpstreamTimeout => "上游服务响应超时",
    }
}

pub(super) fn detail(why: &Rejection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match why {
        Rejection::Head(HeadRefusal::TooLarge) => f.write_str("请求头超出了允许的大小。"),
        Rejection::Head(HeadRefusal::Malformed(fault)) => f.write_str(malformed(*fault)),
        Rejection::Head(HeadRefusal::AmbiguousPath(fault)) => f.write_str(ambiguous(*fault)),
        Rejection::Credential(error) => f.write_str(credential(error)),
        Rejection::Resolve(ResolveError::TenantUnknown) => f.write_str("没有这个名称的账户。"),
        Rejection::Resolve(ResolveError::Unavailable) => {
            f.write_str("暂时无法读取该账户的权限，请稍后再试。")
        }
        Rejection::Denied(denial) => self::denial(denial, f),
        Rejection::LedgerUnavailable => f.write_str("暂时无法记录用量，请稍后再试。"),
        Rejection::View(ViewRefusal::Method) => f.write_str("此处只接受 GET 和 HEAD 请求。"),
        Rejection::View(ViewRefusal::TooOften(_)) => f.write_str("查询该账户用量的次数过多，请稍后再查。"),
        Rejection::View(ViewRefusal::Unavailable) => f.write_str("暂时无法读取用量，请稍后再试。"),
        Rejection::Forward(ForwardError::Unreachable { .. }) => f.write_str("无法连接到本网关后面的服务。"),
        Rejection::Forward(ForwardError::Timeout { .. }) => f.write_str("本网关后面的服务没有及时响应。"),
        Rejection::Forward(ForwardError::ClientBody) => f.write_str("请求正文在传输中断开。"),
        Rejection::Forward(ForwardError::Overloaded) => f.write_str("网关已达到处理上限，请稍后再试。"),
        Rejection::Forward(ForwardError::Withdrawn(why)) => detail(why, f),
    }
}

const fn credential(error: &CredentialError) -> &'static str {
    match error {
        CredentialError::Missing => "此请求需要提供 API 密钥或令牌。",
        CredentialError::Invalid { .. } => "所提供的凭证无效。",
        CredentialError::Expired => "所提供的凭证已过期。",
        CredentialError::Ambiguous => "请求中提供了不止一个凭证。",
        CredentialError::Unavailable => "暂时无法验证凭证，请稍后再试。",
    }
}

fn denial(denial: &Denial, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match denial {
        Denial::TenantSuspended => f.write_str("该账户已被停用。"),
        Denial::SubscriptionInactive(state) => f.write_str(inactive(*state)),
        Denial::RouteNotCovered => f.write_str("没有适用于此请求的路由。"),
        Denial::ConditionFailed { route, charge, why } => {
            unknowable(route, charge.as_ref(), f)?;
            condition(why, f)
        }
        Denial::FeatureNotInPlan { feature } => write!(f, "当前套餐不包含 `{feature}`。"),
        Denial::MeterNotInPlan { meter } => write!(f, "当前套餐没有 `{meter}` 的配额。"),
        Denial::RateLimited { meter, rate, .. } => {
            write!(f, "请求过快：当前套餐每 {:?} 最多允许 {} 个 `{meter}`。", rate.per, rate.limit)
        }
        Denial::QuotaExhausted { meter, window, limit, .. } => {
            write!(f, "当前套餐{}的 {limit} 个 `{meter}` 已全部用完。", every(*window))
        }
        Denial::SpendCapReached { meter, currency, cap, spent, period } => write!(
            f,
            "已达到每月 {cap} {currency} 的消费上限，目前已消费 {spent} {currency}：超出套餐所含部分的 `{meter}` 可在 {} 之后或提高上限后继续使用。",
            period.end
        ),
    }
}

const fn inactive(state: State) -> &'static str {
    match state {
        State::Paused => "订阅已暂停，恢复后即可继续使用。",
        State::Unpaid => "订阅尚未付款，且宽限期已过：付款后即可继续使用。",
        State::Expired => "试用已结束，请选择一个套餐。",
        State::Canceled => "订阅已取消，请选择一个套餐。",
        State::None | State::Trialing | State::Active | State::PastDue => "当前没有订阅，请选择一个套餐。",
    }
}

fn unknowable(route: &str, charge: Option<&MeterId>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match charge {
        None => write!(f, "无法判断 `{route}` 的条件："),
        Some(meter) => write!(f, "无法确定 `{route}` 应计的 `{meter}` 数量："),
    }
}

fn condition(why: &ConditionError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match why {
        ConditionError::Missing(what) => write!(f, "缺少 `{what}`。"),
        ConditionError::TooLong(what) => write!(f, "`{what}` 过长。"),
        ConditionError::NotText(what) => write!(f, "`{what}` 不是文本。"),
        ConditionError::TooMany(what) => write!(f, "`{what}` 的条目过多。"),
        ConditionError::Failed(what) => f.write_str(uncountable(*what)),
        ConditionError::OutOfRange => f.write_str("数量小于 0 或大于 2^53 - 1。"),
    }
}

const fn uncountable(what: Miscalculation) -> &'static str {
    match what {
        Miscalculation::Int => "`int(...)` 的参数不是整数。",
        Miscalculation::Double => "`double(...)` 的参数不是数字。",
        Miscalculation::Bool => "`bool(...)` 的参数既不是 `true` 也不是 `false`。",
        Miscalculation::Timestamp => "`timestamp(...)` 的参数不是时间点。",
        Miscalculation::Duration => "`duration(...)` 的参数不是时长。",
        Miscalculation::Address => "`inCidr(...)` 的参数不是地址。",
        Miscalculation::Arguments => "函数不适用于给出的参数。",
        Miscalculation::Overflow => "数字过大。",
        Miscalculation::DivisionByZero => "除数为零。",
        Miscalculation::NoSuchKey => "映射中没有这个键。",
        Miscalculation::NoSuchPlace => "列表中没有这个位置。",
        Miscalculation::KeyTwice => "映射中有重复的键。",
        Miscalculation::UnknownName => "名称未知。",
        Miscalculation::OtherKind => "值的类型与预期不符。",
        Miscalculation::NoTruth => "条件的结果既不是真也不是假。",
        Miscalculation::NoWholeNumber => "数量不是整数。",
        Miscalculation::Unreadable => "策略文件中的写法无法读取。",
    }
}

const fn malformed(fault: Malformed) -> &'static str {
    match fault {
        Malformed::MethodNotServed => "本网关不提供 TRACE 和 CONNECT 方法。",
        Malformed::LineEnd => "有一行没有以 CR LF 结尾。",
        Malformed::Method => "请求方法不是合法的标记。",
        Malformed::Version => "协议版本不是 HTTP/1.0 或 HTTP/1.1。",
        Malformed::HeaderName => "有一个请求头的名称无效。",
        Malformed::HeaderValue => "有一个请求头的值无效。",
        Malformed::NoHost => "HTTP/1.1 请求缺少 Host。",
        Malformed::ManyHosts => "请求中有不止一个 Host。",
        Malformed::Host => "请求中的 Host 无效。",
        Malformed::NoAuthority => "请求缺少 :authority。",
        Malformed::TwoAuthorities => "请求的 :authority 与 Host 不一致。",
        Malformed::ManyLengths => "请求中有不止一个 Content-Length。",
        Malformed::Length => "请求的 Content-Length 不是数字。",
        Malformed::ManyEncodings => "请求中有不止一个 Transfer-Encoding。",
        Malformed::Encoding => "请求的 Transfer-Encoding 不是 `chunked`。",
        Malformed::LengthAndEncoding => "请求同时带有 Content-Length 和 Transfer-Encoding。",
        Malformed::OldEncoding => "HTTP/1.0 请求不能带有 Transfer-Encoding。",
        Malformed::EmptyLines => "请求行之前的空行过多。",
    }
}

const fn ambiguous(fault: Ambiguous) -> &'static str {
    match fault {
        Ambiguous::Path(fault) => path(fault),
        Ambiguous::NotAPath => "请求目标不是路径。",
        Ambiguous::NotOriginForm => "请求目标不是以路径开头的形式（origin form）。",
        Ambiguous::PathByte => "路径中有必须进行百分号编码的字节。",
        Ambiguous::QueryByte => "查询串中有必须进行百分号编码的字节。",
        Ambiguous::NoCanonicalForm => "路径没有规范形式。",
    }
}

const fn path(fault: AmbiguousPath) -> &'static str {
    match fault {
        AmbiguousPath::NoSlash => "路径没有以 `/` 开头。",
        AmbiguousPath::DotSegment => "路径中有 `.` 或 `..` 段。",
        AmbiguousPath::EmptySegment => "路径中有空段（`//`）。",
        AmbiguousPath::Backslash => "路径中有反斜杠。",
        AmbiguousPath::Semicolon => "路径中有分号。",
        AmbiguousPath::EncodedSlash => "路径中有编码的斜杠（`%2F`）。",
        AmbiguousPath::EncodedBackslash => "路径中有编码的反斜杠（`%5C`）。",
        AmbiguousPath::EncodedSemicolon => "路径中有编码的分号（`%3B`）。",
        AmbiguousPath::EncodedNul => "路径中有编码的 NUL（`%00`）。",
        AmbiguousPath::BadEncoding => "路径中有 `%` 后面没有跟两位十六进制数字。",
        AmbiguousPath::NotUtf8 => "路径中编码的字节不是有效的 UTF-8。",
        AmbiguousPath::Control => "路径中有控制字符或空格。",
        AmbiguousPath::NonAscii => "路径中有未经百分号编码的非 ASCII 字节。",
        AmbiguousPath::Forbidden => "路径中有必须进行百分号编码的字符。",
    }
}

const fn every(window: Window) -> &'static str {
    match window {
        Window::Hour => "每小时",
        Window::Day => "每天",
        Window::Week => "每周",
        Window::Month => "每月",
    }
}

const fn this(window: Window) -> &'static str {
    match window {
        Window::Hour => "本小时",
        Window::Day => "今天",
        Window::Week => "本周",
        Window::Month => "本月",
    }
}

/// `本月的 100000 个「API requests」`
fn of_whole(gauge: &Gauge, units: u64) -> String {
    format!("{}的 {units} 个「{}」", this(gauge.window), gauge.name())
}

pub(super) fn message(message: &Message<'_>) -> String {
    match message {
        Message::Suspended => "该账户已被停用。".to_owned(),
        Message::Inactive(state) => inactive(*state).to_owned(),
        Message::SpendCap { cap, currency, until } => {
            format!("本月的额外用量已达到 {cap} {currency} 的消费上限，将于 {until} 恢复。")
        }
        Message::Stopped { gauge, limit } => {
            format!("{}已全部用完，将于 {} 恢复。", of_whole(gauge, *limit), gauge.resets_at)
        }
        Message::Beyond { gauge, included, beyond } => format!(
            "套餐包含的{}已全部用完，另外又使用了 {beyond} 个，计数将于 {} 重新开始。",
            of_whole(gauge, *included),
            gauge.resets_at
        ),
        Message::Ending { gauge, limit, at } => format!(
            "{}已使用 {} %，按目前的速度将于 {at} 用完，早于 {} 的恢复时间。",
            of_whole(gauge, *limit),
            gauge.share.unwrap_or(0),
            gauge.resets_at
        ),
        Message::Enough { gauge, limit } => format!(
            "{}已使用 {} %，计数将于 {} 重新开始。",
            of_whole(gauge, *limit),
            gauge.share.unwrap_or(0),
            gauge.resets_at
        ),
        Message::Unlimited => "当前套餐的所有用量均不受限制。".to_owned(),
    }
}
